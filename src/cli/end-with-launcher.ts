import { hostname } from "node:os";

/** How `hira launch` tells its processes who it is: its host and process id. */
export const launcherVariable = "HIRA_LAUNCHER";

/** What `hira launch` puts there. */
export const ownName = (): string => `${hostname()}:${String(process.pid)}`;

/** How often a process looks. */
const intervalMs = 1000;

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
};

/**
 * Calls `end` once what has started this process is gone: the launcher's own part on this host, or `hira launch` itself. Killed, they
 * cannot end what they have started, which would train on alone.
 */
export const endWithLauncher = (
  env: Readonly<Record<string, string | undefined>>,
  end: () => void,
): void => {
  const parent = process.ppid;
  const [, host = "", pid = ""] = /^(.*):(\d+)$/.exec(env[launcherVariable] ?? "") ?? [];
  const launcher = host === hostname() ? Number(pid) : undefined;
  const timer = setInterval(() => {
    if (process.ppid === parent && (launcher === undefined || isRunning(launcher))) return;
    clearInterval(timer);
    end();
  }, intervalMs);
  timer.unref();
};
