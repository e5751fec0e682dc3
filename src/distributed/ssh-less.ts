import { spawn } from "node:child_process";
import { createServer, connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { UserError } from "../core/errors.js";

// Hosts without ssh: each of them runs `hira launch --no_ssh --node_rank=N`, which joins the one of rank 0 and waits. What
// the launcher would give to ssh (a host, a command) goes to that host's process over this connection instead.

/** A line of the connection. */
type Message =
  | { readonly node: number }
  | { readonly host: string; readonly command: string }
  | { readonly command: string }
  | { readonly exit: number };

const send = (socket: Socket, message: Message): void => {
  socket.write(`${JSON.stringify(message)}\n`);
};

const onMessage = (socket: Socket, act: (message: Message) => void): void => {
  createInterface({ input: socket }).on("line", (line) => {
    try {
      act(JSON.parse(line) as Message);
    } catch {
      // Whoever speaks otherwise is none of ours.
      socket.destroy();
    }
  });
};

/** The process of rank 0, to which the other hosts have come. */
export interface NodeServer {
  /** Resolves when every other host is there. */
  readonly ready: Promise<void>;
  close(): void;
}

/**
 * Waits at `port` for the processes of the other hosts, and hands commands on to them.
 *
 * @param hosts in the order of their --node_rank
 */
export const serveNodes = (
  hosts: readonly string[],
  { port, joined }: { readonly port: number; readonly joined: (host: string) => void },
): NodeServer => {
  const nodes = new Map<string, Socket>();
  const open = new Set<Socket>();
  let settle: { resolve: () => void; reject: (error: Error) => void } | undefined;
  const ready = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  const server = createServer((socket) => {
    open.add(socket);
    socket.on("error", () => undefined).on("close", () => open.delete(socket));
    onMessage(socket, (message) => {
      if ("node" in message) {
        const host = hosts[message.node];
        if (host === undefined || message.node === 0) return void socket.destroy();
        nodes.set(host, socket);
        joined(host);
        if (nodes.size === hosts.length - 1) settle?.resolve();
      } else if ("host" in message) {
        const node = nodes.get(message.host);
        if (!node) return void socket.end();
        send(node, { command: message.command });
        onMessage(node, (answer) => {
          if ("exit" in answer) send(socket, answer);
        });
        node.on("close", () => socket.end());
        socket.on("close", () => node.end());
      }
    });
  });
  server.on("error", (error) =>
    settle?.reject(
      new UserError(
        `Cannot wait for the other hosts at port ${String(port)}: ${error.message}`,
        "Choose another --master_port on every host",
      ),
    ),
  );
  server.listen(port, () => {
    if (hosts.length === 1) settle?.resolve();
  });
  return {
    ready,
    close() {
      for (const socket of open) socket.destroy();
      server.close();
    },
  };
};

/** Connects, again and again until `patienceMs` have passed: the process of rank 0 may start later. */
const reach = async (address: string, port: number, patienceMs: number): Promise<Socket> => {
  const end = Date.now() + patienceMs;
  for (;;) {
    try {
      return await new Promise<Socket>((resolve, reject) => {
        const socket = connect({ host: address, port });
        socket.once("connect", () => {
          resolve(socket);
        });
        socket.once("error", reject);
      });
    } catch (error) {
      if (Date.now() >= end)
        throw new UserError(
          `Cannot reach the process of --node_rank=0 at ${address}:${String(port)}: ${(error as Error).message}`,
          "Start it there with the same --master_port, and give its address here: --master_addr",
        );
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
};

/**
 * Joins the process of rank 0 and runs the one command that comes. Resolves to its exit code; 0 where none came.
 *
 * @throws {UserError} if nobody can be reached in time
 */
export const joinAsNode = async (
  rank: number,
  {
    address,
    port,
    patienceMs = 60_000,
  }: { readonly address: string; readonly port: number; readonly patienceMs?: number },
): Promise<number> => {
  const socket = await reach(address, port, patienceMs);
  send(socket, { node: rank });
  return new Promise((resolve) => {
    let code = 0;
    onMessage(socket, (message) => {
      if (!("command" in message)) return;
      const child = spawn("sh", ["-c", message.command], { stdio: "inherit" });
      socket.once("close", () => child.kill());
      child.once("close", (exit) => {
        code = exit ?? 1;
        send(socket, { exit: code });
        // Where the other host is gone, nobody ends the connection from there.
        socket.end(() => socket.destroy());
        resolve(code);
      });
    });
    socket.on("error", () => undefined);
    socket.once("close", () => {
      resolve(code);
    });
  });
};

/** What stands in for ssh: has `command` run by the process of `host`. Resolves to the exit code. */
export const runOnNode = async (host: string, command: string, port: number): Promise<number> => {
  const socket = await reach("127.0.0.1", port, 1000);
  send(socket, { host, command });
  return new Promise((resolve) => {
    // Without an answer the host is gone.
    let code = 255;
    onMessage(socket, (message) => {
      if ("exit" in message) code = message.exit;
    });
    socket.on("error", () => undefined);
    socket.once("close", () => {
      resolve(code);
    });
  });
};
