/**
 * One end of a cable that two network namespaces are joined by in user space: a TUN device of this name, whose IP packets come on
 * standard output and go in on standard input, each behind its length (4 bytes, little-endian). An empty one first says that it is there.
 *
 * usage: tun-end.ts NAME, as root
 */
import { openSync, read, write } from "node:fs";
import koffi from "koffi";

/** TUNSETIFF, and IFF_TUN | IFF_NO_PI: packets without a header. Source: linux/if_tun.h. */
const setInterface = 0x400454ca;
const plainTun = 0x1001;

const device = openSync("/dev/net/tun", "r+");
const request = Buffer.alloc(40);
request.write(process.argv[2] ?? "", 0, 15);
request.writeUInt16LE(plainTun, 16);
const ioctl = koffi.load("libc.so.6").func("ioctl", "int", ["int", "unsigned long", "void *"]);
if (ioctl(device, setInterface, request) !== 0) throw new Error("Cannot make a TUN device");

const framed = (packet: Buffer): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(packet.length);
  return Buffer.concat([length, packet]);
};
const next = (): void => {
  const packet = Buffer.alloc(65536);
  read(device, packet, 0, packet.length, null, (error, count) => {
    if (error) process.exit(1);
    process.stdout.write(framed(packet.subarray(0, count)));
    next();
  });
};
process.stdout.write(framed(Buffer.alloc(0)));
next();

let waiting = Buffer.alloc(0);
process.stdin.on("data", (piece: Buffer) => {
  waiting = Buffer.concat([waiting, piece]);
  while (waiting.length >= 4) {
    const end = 4 + waiting.readUInt32LE(0);
    if (waiting.length < end) return;
    // What the device refuses is lost, as on any cable.
    write(device, waiting.subarray(4, end), () => undefined);
    waiting = waiting.subarray(end);
  }
});
process.stdin.on("end", () => process.exit(0));
