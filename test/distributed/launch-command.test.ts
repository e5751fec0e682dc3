import test from "ava";
import {
  exportedNames,
  launchCommand,
  launcherVariables,
  type LaunchPlan,
} from "../../src/distributed/launch-command.js";
import { launchedBy } from "../../src/distributed/launched-by.js";

const plan: LaunchPlan = {
  launcher: "openmpi",
  slots: new Map([
    ["a", [0, 1]],
    ["b", [0, 1]],
  ]),
  program: ["node", "hira.js", "train", "--lr=1"],
  launcherArgs: ["--mca", "btl", "tcp"],
  exported: ["HF_HOME", "PATH"],
  rankLogs: undefined,
  isRoot: false,
};
const here: LaunchPlan = { ...plan, slots: new Map([["localhost", [0, 1]]]), launcherArgs: [] };
const line = (changed: Partial<LaunchPlan> = {}, base = plan): string =>
  launchCommand({ ...base, ...changed }).join(" ");

test("Open MPI's line has every host with its processes, and the environment that travels", (t) => {
  t.is(
    line(),
    "mpirun --quiet -n 4 --host a:2,b:2 --bind-to none --mca mpi_yield_when_idle 1 --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 -x HF_HOME -x PATH --mca btl tcp node hira.js train --lr=1",
  );
  t.is(
    line({ isRoot: true, rankLogs: "/logs", sshPort: 2222 }, here),
    "mpirun --allow-run-as-root --quiet -n 2 --host localhost:2 --bind-to none --mca mpi_yield_when_idle 1 --mca plm_rsh_args -p 2222 --output-filename /logs node hira.js train --lr=1",
  );
  t.regex(
    line({ agent: ["node", "hira.js", "launch", "--as_agent=1"] }),
    /--mca plm_rsh_agent node hira\.js launch --as_agent=1 --mca oob/,
  );
});

test("MPICH's and Slurm's lines say the same in their words", (t) => {
  t.is(
    line({ launcher: "mpich", rankLogs: "/logs" }),
    "mpiexec.hydra -n 4 -hosts a:2,b:2 -genvlist HF_HOME,PATH -outfile-pattern /logs/rank.%r.log -errfile-pattern /logs/rank.%r.err --mca btl tcp node hira.js train --lr=1",
  );
  t.is(line({ launcher: "mpich" }, here), "mpiexec.hydra -n 2 node hira.js train --lr=1");
  t.is(
    line({ launcher: "slurm", launcherArgs: ["--mpi=pmi2"] }),
    "srun -n 4 --nodelist=a,b --ntasks-per-node=2 --export=ALL --kill-on-bad-exit=1 --cpu-bind=none --mpi=pmi2 node hira.js train --lr=1",
  );
});

test("what needs as many processes on every host is refused where there are not", (t) => {
  const slots = new Map([
    ["a", [0, 1]],
    ["b", [0]],
  ]);
  t.throws(() => line({ launcher: "slurm", slots }), {
    name: "UserError",
    message: /found 2 processes on a, 1 processes on b, expected as many on every host/,
  });
});

test("MPICH reads the port of ssh from its environment", (t) => {
  t.deepEqual(launcherVariables({ launcher: "mpich", sshPort: 2222 }), {
    HYDRA_LAUNCHER_EXTRA_ARGS: "-p 2222",
  });
  t.deepEqual(launcherVariables({ launcher: "openmpi", sshPort: 2222 }), {});
});

test("only variables of hira and of the programs below it travel to other hosts", (t) => {
  t.deepEqual(
    exportedNames({
      PATH: "/bin",
      HF_HOME: "/hf",
      HIRA_DEVICE_DIR: "/d",
      SECRET: "x",
      HOME: "/root",
    }),
    ["HF_HOME", "HIRA_DEVICE_DIR", "PATH"],
  );
});

test("who has started a process is told by its environment", (t) => {
  t.deepEqual(
    launchedBy({
      OMPI_COMM_WORLD_RANK: "1",
      OMPI_COMM_WORLD_SIZE: "4",
      OMPI_COMM_WORLD_LOCAL_RANK: "0",
      OMPI_COMM_WORLD_LOCAL_SIZE: "2",
    }),
    { family: "Open MPI", rank: 1, size: 4, localRank: 0, localSize: 2 },
  );
  t.deepEqual(launchedBy({ PMI_RANK: "0", PMI_SIZE: "2", SLURM_LOCALID: "1" }), {
    family: "MPICH",
    rank: 0,
    size: 2,
    localRank: 1,
    localSize: 2,
  });
  // A batch script's own shell, before srun.
  t.is(launchedBy({ SLURM_NTASKS: "4", SLURM_PROCID: "0" }), undefined);
  t.is(launchedBy({}), undefined);
});
