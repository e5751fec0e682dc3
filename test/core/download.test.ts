import { appendFileSync } from "node:fs";
import { mkdir, readFile, readdir, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "ava";
import { download, partPath, type DownloadOptions } from "../../src/core/download.js";
import { UserError } from "../../src/core/errors.js";
import { PassingFault, withAttempts } from "../../src/core/request.js";
import { startFileServer, startProxy } from "../support/file-server.js";
import { makeTempFolder } from "../support/temp-folder.js";

/** Bytes that differ from place to place, so that a part in a wrong place shows. */
const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) & 255));

const fast: DownloadOptions = { environment: {}, waitMs: 1, attempts: 3, silenceMs: 3000 };

const partOf = (path: string): Promise<Buffer> => readFile(partPath(path));

test("download leaves the whole file as its part, and tells how far it is", async (t) => {
  const server = await startFileServer(t, { "/a.bin": { content } });
  const path = join(await makeTempFolder(t), "new", "a.bin");
  const told: [number, number | undefined][] = [];
  const done = await download(`${server.address}/a.bin`, path, {
    ...fast,
    onProgress: (bytes, total) => told.push([bytes, total]),
  });
  t.deepEqual(done, { resumedAt: 0, bytes: content.length });
  t.deepEqual(await partOf(path), content);
  t.deepEqual(told[0], [0, content.length]);
  t.deepEqual(told.at(-1), [content.length, content.length]);
});

test("a connection that is cut is taken up where it was cut, as long as anything arrives", async (t) => {
  // More cuts than attempts: each brings something.
  const cut = { after: 40_000, times: 6 };
  const server = await startFileServer(t, { "/a.bin": { content, etag: '"1"', cut } });
  const path = join(await makeTempFolder(t), "a.bin");
  const why: string[] = [];
  await download(`${server.address}/a.bin`, path, { ...fast, onRetry: (text) => why.push(text) });
  t.deepEqual(await partOf(path), content);
  t.is(why.length, 6);
  t.deepEqual([...new Set(why)], ["the connection was cut"]);
  t.is(server.seen.length, 7);
  t.is(server.seen[0]?.range, undefined);
  for (const { range, ifRange } of server.seen.slice(1)) {
    t.regex(range ?? "", /^bytes=\d+-$/);
    t.is(ifRange, '"1"');
  }
});

test("a later start goes on behind an earlier one, and begins again where the file has changed", async (t) => {
  const cut = { after: 100_000, times: 99 };
  const server = await startFileServer(t, { "/a.bin": { content, etag: '"1"', cut } });
  const path = join(await makeTempFolder(t), "a.bin");
  const url = `${server.address}/a.bin`;
  const once = { ...fast, attempts: 1 };
  await t.throwsAsync(download(url, path, once), { instanceOf: UserError });
  const { length } = await partOf(path);
  t.true(length > 0 && length < content.length, String(length));

  server.files.set("/a.bin", { content, etag: '"1"' });
  t.is((await download(url, path, fast)).resumedAt, length);
  t.deepEqual(await partOf(path), content);
  // A whole part is taken as it is: the server has nothing behind it.
  t.is((await download(url, path, fast)).resumedAt, content.length);

  const changed = Buffer.from(content).reverse();
  server.files.set("/a.bin", { content: changed, etag: '"2"' });
  t.is((await download(url, path, fast)).resumedAt, 0);
  t.deepEqual(await partOf(path), changed);
});

test("a part without the server's tag is gone on with only where a hash will tell", async (t) => {
  const cut = { after: 100_000, times: 1 };
  const server = await startFileServer(t, { "/a.bin": { content, cut } });
  const path = join(await makeTempFolder(t), "a.bin");
  const url = `${server.address}/a.bin`;
  await t.throwsAsync(download(url, path, { ...fast, attempts: 1 }));
  t.is((await download(url, path, fast)).resumedAt, 0);
  t.is(server.seen.at(-1)?.range, undefined);

  server.files.set("/b.bin", { content });
  const other = join(await makeTempFolder(t), "b.bin");
  await writeFile(partPath(other), content.subarray(0, 5));
  await writeFile(`${partPath(other)}.json`, JSON.stringify({ url: `${server.address}/b.bin` }));
  const done = await download(`${server.address}/b.bin`, other, { ...fast, isVerified: true });
  t.is(done.resumedAt, 5);
  t.deepEqual(await partOf(other), content);
});

test("a part that another program writes into is not taken for the file", async (t) => {
  const server = await startFileServer(t, { "/a.bin": { content, etag: '"1"' } });
  const path = join(await makeTempFolder(t), "a.bin");
  const why: string[] = [];
  let wrote = false;
  await download(`${server.address}/a.bin`, path, {
    ...fast,
    onRetry: (text) => why.push(text),
    onProgress: (bytes) => {
      if (bytes > 0 && !wrote) appendFileSync(partPath(path), "x");
      wrote ||= bytes > 0;
    },
  });
  t.deepEqual(why, ["another program writes into the same part"]);
  t.deepEqual(await partOf(path), content);
});

test("a server that knows no parts gives the whole file again; a part of another address is not used", async (t) => {
  const cut = { after: 50_000, times: 1 };
  const server = await startFileServer(t, {
    "/a.bin": { content, etag: '"1"', ignoresRange: true, cut },
    "/b.bin": { content: Buffer.from("short"), etag: '"1"' },
  });
  const path = join(await makeTempFolder(t), "a.bin");
  t.is((await download(`${server.address}/a.bin`, path, fast)).resumedAt, 0);
  t.deepEqual(await partOf(path), content);
  await download(`${server.address}/b.bin`, path, fast);
  t.is(String(await partOf(path)), "short");
});

test("a part longer than the server's file begins again", async (t) => {
  const server = await startFileServer(t, {
    "/a.bin": { content: Buffer.from("abc"), etag: '"1"' },
  });
  const path = join(await makeTempFolder(t), "a.bin");
  const url = `${server.address}/a.bin`;
  await writeFile(partPath(path), "abcdef");
  await writeFile(`${partPath(path)}.json`, JSON.stringify({ url, validator: '"1"' }));
  await download(url, path, fast);
  t.is(String(await partOf(path)), "abc");
});

for (const [status, words] of [
  [404, "404 Not Found, it has no such file"],
  [403, "403 Forbidden, it does not allow this"],
  [401, "401 Unauthorized, it wants an account or a token"],
] as const)
  test(`a server that says ${String(status)} is asked once, and quoted`, async (t) => {
    const server = await startFileServer(t, { "/a": { content, statuses: [status, status] } });
    const path = join(await makeTempFolder(t), "a");
    const url = `${server.address}/a`;
    const error = await t.throwsAsync(download(url, path, fast), { instanceOf: UserError });
    t.is(error?.message, `Cannot fetch ${url}: the server says ${words}`);
    t.true((error?.hint ?? "").includes("hand"));
    t.is(server.seen.length, 1);
    t.deepEqual(await readdir(join(path, "..")), []);
  });

test("a server that is busy is asked again, and given up after the attempts", async (t) => {
  const server = await startFileServer(t, {
    "/soon": { content, statuses: [503, 429] },
    "/never": { content, statuses: [500, 502, 503, 504] },
  });
  const folder = await makeTempFolder(t);
  await download(`${server.address}/soon`, join(folder, "soon"), fast);
  t.is(server.seen.length, 3);
  await t.throwsAsync(download(`${server.address}/never`, join(folder, "never"), fast), {
    instanceOf: UserError,
    message: /the server says 503 Service Unavailable, 3 times in a row$/,
  });
});

test("redirects are followed, but not in a circle", async (t) => {
  const server = await startFileServer(t, {
    "/old": { content, redirect: "/older" },
    "/older": { content, redirect: "/new" },
    "/new": { content },
    "/round": { content, redirect: "/round" },
  });
  const folder = await makeTempFolder(t);
  await download(`${server.address}/old`, join(folder, "a"), fast);
  t.deepEqual(await partOf(join(folder, "a")), content);
  await t.throwsAsync(download(`${server.address}/round`, join(folder, "b"), fast), {
    instanceOf: UserError,
    message: /found redirects in a circle, expected a file/,
  });
});

test("a host that cannot be reached is told with the way through a proxy", async (t) => {
  const folder = await makeTempFolder(t);
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const { port } = closed.address() as { port: number };
  await new Promise((resolve) => closed.close(resolve));
  const error = await t.throwsAsync(
    download(`http://127.0.0.1:${String(port)}/a`, join(folder, "a"), fast),
    { instanceOf: UserError, message: /: the connection is refused, 3 times in a row$/ },
  );
  t.regex(error?.hint ?? "", /HTTPS_PROXY/);
});

test("a host whose name is not known is asked again only where something has come before", async (t) => {
  const fault = (why: string) => new UserError(why);
  const attempts = { attempts: 3, waitMs: 1 };
  const count = async (hasNewsBefore: boolean): Promise<number> => {
    let made = 0;
    const attempt = async (hasNews: () => void): Promise<never> => {
      if (hasNewsBefore && made === 0) hasNews();
      made++;
      return Promise.reject(new PassingFault("no such host is known", undefined, true));
    };
    await t.throwsAsync(withAttempts(attempts, attempt, fault), { instanceOf: UserError });
    return made;
  };
  t.is(await count(false), 1);
  t.is(await count(true), 3);
});

test("a server that goes silent is left, and what came goes on", async (t) => {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: "1"\r\n\r\nabc');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => void server.close());
  const { port } = server.address() as { port: number };
  const path = join(await makeTempFolder(t), "a");
  await t.throwsAsync(
    download(`http://127.0.0.1:${String(port)}/a`, path, { ...fast, attempts: 1, silenceMs: 300 }),
    { instanceOf: UserError, message: /: the server has gone silent/ },
  );
  t.is(String(await partOf(path)), "abc");
});

test("plain http goes to a proxy as a request, NO_PROXY past it, and a password with it", async (t) => {
  const server = await startFileServer(t, { "/a": { content } });
  const proxy = await startProxy(t, server.port, "me:secret");
  const folder = await makeTempFolder(t);
  const behind = proxy.address.replace("http://", "http://me:secret@");
  await download("http://publisher.example/a", join(folder, "a"), {
    ...fast,
    environment: { HTTP_PROXY: behind },
  });
  t.deepEqual(await partOf(join(folder, "a")), content);
  t.deepEqual(proxy.asked, ["GET http://publisher.example/a"]);
  t.is(server.seen[0]?.host, "publisher.example");

  await download(`${server.address}/a`, join(folder, "b"), {
    ...fast,
    environment: { http_proxy: behind, no_proxy: "127.0.0.1" },
  });
  t.is(proxy.asked.length, 1);

  const refused = await t.throwsAsync(
    download("http://publisher.example/a", join(folder, "c"), {
      ...fast,
      environment: { http_proxy: proxy.address },
    }),
    { instanceOf: UserError, message: /: the proxy says 407, it wants a name and a password$/ },
  );
  t.regex(refused?.hint ?? "", /HTTPS_PROXY=http:\/\/NAME:PASSWORD@HOST:PORT/);
});

test("https goes through a tunnel of the proxy", async (t) => {
  const server = await startFileServer(t, {});
  const proxy = await startProxy(t, server.port);
  const folder = await makeTempFolder(t);
  // The server speaks no TLS: that the tunnel was asked for is what counts.
  await t.throwsAsync(
    download("https://publisher.example/a", join(folder, "a"), {
      ...fast,
      attempts: 1,
      environment: { https_proxy: proxy.address },
    }),
    { instanceOf: UserError },
  );
  t.deepEqual(proxy.asked, ["CONNECT publisher.example:443"]);
  const closed = await startProxy(t, server.port, "me:secret");
  await t.throwsAsync(
    download("https://publisher.example/a", join(folder, "a"), {
      ...fast,
      environment: { https_proxy: closed.address },
    }),
    { instanceOf: UserError, message: /: the proxy says 407, it wants a name and a password$/ },
  );
});

test("a proxy whose address is none is refused by name", async (t) => {
  const path = join(await makeTempFolder(t), "a");
  await t.throwsAsync(
    download("http://publisher.example/a", path, {
      ...fast,
      environment: { HTTP_PROXY: "proxy:8080" },
    }),
    {
      instanceOf: UserError,
      message:
        'Cannot use the proxy of HTTP_PROXY: found "proxy:8080", expected an address such as http://proxy:8080',
    },
  );
});

test("a disk without room is told before the first byte, or where it fills up", async (t) => {
  const server = await startFileServer(t, { "/a": { content } });
  const folder = await makeTempFolder(t);
  await t.throwsAsync(
    download(`${server.address}/a`, join(folder, "a"), { ...fast, freeBytes: () => 1000 }),
    {
      instanceOf: UserError,
      message: /found 1 MiB free on its disk, expected room for 1 MiB more/,
    },
  );
  t.deepEqual(await readdir(folder), []);
  await symlink("/dev/full", partPath(join(folder, "b")));
  const full = await t.throwsAsync(download(`${server.address}/a`, join(folder, "b"), fast), {
    instanceOf: UserError,
    message: /^Cannot write .*\.b\.part: found no room on the disk$/,
  });
  t.regex(full?.hint ?? "", /the same command goes on/);
  await mkdir(join(folder, "c"));
  await writeFile(join(folder, "file"), "");
  await t.throwsAsync(download(`${server.address}/a`, join(folder, "file", "x"), fast), {
    instanceOf: UserError,
    message: /^Cannot write /,
  });
});
