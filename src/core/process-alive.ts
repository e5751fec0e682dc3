/** Whether a process of that number runs on this machine, whoever owns it. */
export const isProcessAlive = (pid: number): boolean => {
  try {
    // Signal 0 is never delivered; it only asks whether there is such a process.
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
};
