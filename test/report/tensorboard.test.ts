import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { crc32c } from "../../src/report/crc32c.js";
import { openTensorBoard, tagOf } from "../../src/report/tensorboard.js";
import { nested, one, readFields, readRecords } from "../support/event-file.js";

const makeFolder = async (t: ExecutionContext): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "hira-tensorboard-"));
  t.teardown(() => rm(folder, { recursive: true }));
  return folder;
};

test("crc32c gives RFC 3720's values", (t) => {
  t.is(crc32c(Buffer.from("123456789")), 0xe3069283);
  t.is(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  t.is(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  t.is(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i))), 0x46dd794e);
  t.is(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => 31 - i))), 0x113fdb5c);
  t.is(crc32c(Buffer.alloc(0)), 0);
});

test("tagOf sorts names as transformers does", (t) => {
  t.is(tagOf("loss"), "train/loss");
  t.is(tagOf("train_runtime"), "train/train_runtime");
  t.is(tagOf("eval_samples_per_second"), "eval/samples_per_second");
});

const startedAt = new Date(2026, 0, 9, 12, 3, 4);
const text = (value: number | Buffer): string => value.toString();

test("openTensorBoard writes records that an independent decoder reads back", async (t) => {
  const run = await makeFolder(t);
  const board = await openTensorBoard(run, startedAt, { host: "box", pid: 77 });
  t.is(board.folder, join(run, "runs", "Jan09_12-03-04_box"));
  const later = new Date(startedAt.getTime() + 1500);
  await board.text("args", '{"lr": "é"}', 0, startedAt);
  await board.log({ loss: 0.1, learning_rate: 1e-3, epoch: 0.5 }, 1, later);
  await board.log({ eval_loss: NaN }, 2 ** 40, later);
  await board.close();

  const seconds = String(startedAt.getTime() / 1000);
  t.deepEqual(await readdir(board.folder), [`events.out.tfevents.${seconds}.box.77.0`]);
  const path = join(board.folder, `events.out.tfevents.${seconds}.box.77.0`);
  const [version, args, train, evaluation, ...rest] = readRecords(await readFile(path)).map(
    readFields,
  );
  t.deepEqual(rest, []);
  if (!version || !args || !train || !evaluation) throw new Error("records are missing");

  t.is(text(one(version, 3)), "brain.Event:2");
  t.is(one(version, 1), startedAt.getTime() / 1000);

  const value = nested(nested(args, 5), 1);
  t.is(text(one(value, 1)), "args/text_summary");
  const tensor = nested(value, 8);
  t.is(one(tensor, 1), 7);
  t.is(one(nested(nested(tensor, 2), 2), 1), 1);
  t.is(text(one(tensor, 8)), '{"lr": "é"}');
  t.is(text(one(nested(nested(value, 9), 1), 1)), "text");

  t.is(one(train, 1), later.getTime() / 1000);
  t.is(one(train, 2), 1);
  const scalars = nested(train, 5).map(({ value }) => readFields(value as Buffer));
  t.deepEqual(
    scalars.map((scalar) => [text(one(scalar, 1)), one(scalar, 2)]),
    [
      ["train/loss", Math.fround(0.1)],
      ["train/learning_rate", Math.fround(1e-3)],
      ["train/epoch", 0.5],
    ],
  );

  t.is(one(evaluation, 2), 2 ** 40);
  t.is(one(nested(nested(evaluation, 5), 1), 2), NaN);
});

test("every event is whole in the file as soon as log resolves", async (t) => {
  const board = await openTensorBoard(await makeFolder(t), startedAt);
  const [name = ""] = await readdir(board.folder);
  for (let step = 1; step <= 3; step++) {
    await board.log({ loss: step }, step, startedAt);
    t.is(readRecords(await readFile(join(board.folder, name))).length, step + 1);
  }
  await board.close();
  await appendFile(join(board.folder, name), "x");
  t.throws(() => readRecords(Buffer.from("x")));
});

test("openTensorBoard refuses to write into another run's file, or where no folder can be", async (t) => {
  const run = await makeFolder(t);
  await (await openTensorBoard(run, startedAt, { host: "box", pid: 1 })).close();
  await t.throwsAsync(openTensorBoard(run, startedAt, { host: "box", pid: 1 }), {
    instanceOf: UserError,
    message: /found a file of that name/,
  });
  await writeFile(join(run, "file"), "");
  await t.throwsAsync(openTensorBoard(join(run, "file"), startedAt), { instanceOf: UserError });
});
