import { crc32, deflateRawSync } from "node:zlib";

type Files = Readonly<Record<string, string | Buffer>>;

const bytesOf = (content: string | Buffer): Buffer => Buffer.from(content);

/** A zip archive of the files, deflated or stored. */
export const makeZip = (files: Files, { stores = false } = {}): Buffer => {
  const local: Buffer[] = [];
  const central: Buffer[] = [];
  let at = 0;
  for (const [path, content] of Object.entries(files)) {
    const [name, bytes] = [Buffer.from(path), bytesOf(content)];
    const packed = stores ? bytes : deflateRawSync(bytes);
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt16LE(stores ? 0 : 8, 4);
    shared.writeUInt32LE(crc32(bytes), 10);
    shared.writeUInt32LE(packed.length, 14);
    shared.writeUInt32LE(bytes.length, 18);
    shared.writeUInt16LE(name.length, 22);
    const entry = Buffer.alloc(46);
    entry.write("PK\u0001\u0002", "latin1");
    shared.copy(entry, 6);
    entry.writeUInt32LE(at, 42);
    central.push(entry, name);
    const head = Buffer.concat([Buffer.from("PK\u0003\u0004", "latin1"), shared]);
    local.push(head, name, packed);
    at += head.length + name.length + packed.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.write("PK\u0005\u0006", "latin1");
  end.writeUInt16LE(central.length / 2, 8);
  end.writeUInt16LE(central.length / 2, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...local, directory, end]);
};

const tarHeader = (name: string, size: number, type: string): Buffer => {
  const header = Buffer.alloc(512);
  header.write(name, 0, 100);
  header.write("0000644\0", 100);
  header.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  header.write("        ", 148);
  header.write(type, 156);
  header.write("ustar\0" + "00", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
};

const inBlocks = (bytes: Buffer): Buffer =>
  Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);

/** A tar archive of the files; names over 100 bytes in GNU's form. */
export const makeTar = (files: Files): Buffer =>
  Buffer.concat([
    tarHeader("folder/", 0, "5"),
    ...Object.entries(files).flatMap(([name, content]) => {
      const [bytes, long] = [bytesOf(content), Buffer.from(`${name}\0`)];
      const before =
        name.length > 100 ? [tarHeader("././@LongLink", long.length, "L"), inBlocks(long)] : [];
      return [...before, tarHeader(name.slice(0, 100), bytes.length, "0"), inBlocks(bytes)];
    }),
    Buffer.alloc(1024),
  ]);
