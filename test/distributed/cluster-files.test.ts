import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import test from "ava";
import { parse } from "yaml";
import { launchedBy } from "../../src/distributed/launched-by.js";

const page = readFileSync(new URL("../../docs/commands/launch.md", import.meta.url), "utf8");

/** The block of the page in this language that has a word. */
const blockWith = (language: string, word: string): string =>
  [...page.matchAll(/```(\w+)\n([\s\S]*?)```/g)].find(
    ([, found, text = ""]) => found === language && text.includes(word),
  )?.[2] ?? "";

type Json = Readonly<Record<string, unknown>>;
type Check = (value: unknown, place: string) => readonly string[];

const scalar =
  (type: "string" | "number"): Check =>
  (value, place) =>
    typeof value === type ? [] : [`${place}: expected a ${type}`];
const oneOf =
  (...words: readonly string[]): Check =>
  (value, place) =>
    words.includes(String(value)) ? [] : [`${place}: expected ${words.join(" or ")}`];
const listOf =
  (item: Check): Check =>
  (value, place) =>
    Array.isArray(value) && value.length > 0
      ? value.flatMap((each, i) => item(each, `${place}[${String(i)}]`))
      : [`${place}: expected a list`];
/** An object with these fields and no others; names that end with "?" may be missing. */
const object =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value, place) => {
    if (typeof value !== "object" || value === null) return [`${place}: expected an object`];
    const known = new Map(
      Object.entries(fields).map(([name, check]) => [
        name.replace("?", ""),
        { check, isFree: name.endsWith("?") },
      ]),
    );
    return [
      ...Object.keys(value).flatMap((name) =>
        known.has(name) ? [] : [`${place}.${name}: unknown`],
      ),
      ...[...known].flatMap(([name, { check, isFree }]) => {
        const field = (value as Json)[name];
        return field === undefined
          ? isFree
            ? []
            : [`${place}.${name}: missing`]
          : check(field, `${place}.${name}`);
      }),
    ];
  };
const any: Check = () => [];

const text = scalar("string");
const container = object({
  ...{ name: text, image: text, "command?": listOf(text), "args?": listOf(text) },
  "resources?": object({ "limits?": any, "requests?": any }),
  "volumeMounts?": listOf(object({ name: text, mountPath: text })),
});
const replica = object({
  replicas: scalar("number"),
  template: object({
    spec: object({
      "restartPolicy?": oneOf("OnFailure", "Never"),
      containers: listOf(container),
      "volumes?": listOf(
        object({ name: text, "persistentVolumeClaim?": object({ claimName: text }) }),
      ),
    }),
  }),
});

/** What of an MPIJob the page uses. Source: the CRD kubeflow.org_mpijobs.yaml, v2beta1, of the MPI operator 0.6. */
const mpiJob = object({
  apiVersion: oneOf("kubeflow.org/v2beta1"),
  kind: oneOf("MPIJob"),
  metadata: object({ name: text }),
  spec: object({
    "slotsPerWorker?": scalar("number"),
    "mpiImplementation?": oneOf("OpenMPI", "Intel", "MPICH"),
    "runPolicy?": object({
      "cleanPodPolicy?": oneOf("None", "Running", "All"),
      "backoffLimit?": scalar("number"),
    }),
    mpiReplicaSpecs: object({ Launcher: replica, Worker: replica }),
  }),
});

test("the page's MPIJob has the fields of its schema, and as many processes as slots", (t) => {
  const job = parse(blockWith("yaml", "MPIJob")) as Json;
  t.deepEqual(mpiJob(job, "job"), []);
  t.deepEqual(mpiJob({ ...job, kind: "Job", more: 1 }, "job"), [
    "job.more: unknown",
    "job.kind: expected MPIJob",
  ]);
  const spec = job.spec as {
    readonly slotsPerWorker: number;
    readonly mpiReplicaSpecs: {
      readonly Launcher: {
        readonly template: {
          readonly spec: {
            readonly containers: readonly [{ readonly command: readonly string[] }];
          };
        };
      };
      readonly Worker: { readonly replicas: number };
    };
  };
  const [{ command }] = spec.mpiReplicaSpecs.Launcher.template.spec.containers;
  const asked = Number(command[command.indexOf("-n") + 1]);
  t.is(asked, spec.slotsPerWorker * spec.mpiReplicaSpecs.Worker.replicas);
});

test("the page's batch file is a shell's, and its directives are Slurm's", (t) => {
  const script = blockWith("bash", "#SBATCH");
  t.is(spawnSync("bash", ["-n"], { input: script }).status, 0);
  const directives = [...script.matchAll(/^#SBATCH --([\w-]+)/gm)].map(([, name]) => name);
  const known = [
    "job-name",
    "nodes",
    "ntasks-per-node",
    "cpus-per-task",
    "time",
    "signal",
    "requeue",
  ];
  t.deepEqual(directives, known);
  t.regex(script, /^srun .*hira --peft_type=hira/m);
});

test("processes that srun starts by PMIx or PMI-2 know their places", (t) => {
  const slurm = { SLURM_NTASKS: "8", SLURM_LOCALID: "1" };
  t.like(launchedBy({ ...slurm, PMIX_RANK: "5" }), { rank: 5, size: 8, localRank: 1 });
  t.like(launchedBy({ ...slurm, PMI_RANK: "5", PMI_SIZE: "8" }), {
    rank: 5,
    size: 8,
    localRank: 1,
  });
});
