"""A private SLURM: its own munge, controller and two nodes on loopback, under one folder, on free ports.

Nothing in /etc is read or changed, no service is started, and every process ends with `stop`, or with the process that
started it. GPUs are declared and not real: they satisfy the scheduler.
"""

import ctypes
import getpass
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

NODES = ("node1", "node2")
CPUS_OF_NODE = 4  # declared, as are the rest; the machine may have fewer
MEMORY_OF_NODE_MB = 250_000
START_SECONDS = 60
STOP_SECONDS = 30
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol", "munged")
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacctmgr", "sacct", "mariadbd", "mariadb", "mysql_install_db")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=0
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
SlurmdParameters=config_overrides
MinJobAge=300
KillWait=2
Epilog={folder}/bin/epilog
SlurmctldTimeout=30
SlurmdTimeout=30
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill,UsePss
DefMemPerCPU=500
AccountingStorageType=accounting_storage/{accounting}
{accounting_lines}{nodes}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=2-00:00:00 PriorityTier=1 State=UP
PartitionName=gpu Nodes=ALL MaxTime=2-00:00:00 PriorityTier=1 State=UP
PartitionName=urgent Nodes=ALL MaxTime=2-00:00:00 PriorityTier=10 PreemptMode=OFF State=UP
"""
NODE = (
    "NodeName={name} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs={cpus} RealMemory={memory} Gres=gpu:a100:1"
)
ACCOUNTING = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
CommunicationParameters=NoInAddrAny
SlurmUser={user}
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={user}
StorageLoc=slurm_acct_db
"""
# Without cgroups a job's process can outlive it. As sites do, kill what is left; the job ends after that.
EPILOG = """\
#!{python} -S
import os, signal
wanted = {{b"SLURM_CONF={configuration}", b"SLURM_JOB_ID=" + os.environb[b"SLURM_JOB_ID"]}}
for process in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{{process}}/environ", "rb") as stream:
            found = wanted <= set(stream.read().split(b"\\0"))
        if found and int(process) != os.getpid():
            os.kill(int(process), signal.SIGKILL)
    except OSError:
        pass
"""
# The job step of the executor drops SLURM_CONF before its inner srun; a cluster of its own has to put it back.
SRUN = """\
#!/bin/sh
SLURM_CONF={configuration} exec {program} "$@"
"""
SBATCH = """\
#!{python} -S
import json, os, sys
with open({record!r}, "a") as stream:
    stream.write(json.dumps({{"folder": os.getcwd(), "arguments": sys.argv[1:]}}) + "\\n")
os.execv({program!r}, ["sbatch", *sys.argv[1:]])
"""


def missing_programs(*, accounting: bool = False) -> list[str]:
    """Programs of SLURM that this machine lacks."""
    wanted = (*PROGRAMS, *ACCOUNTING_PROGRAMS) if accounting else PROGRAMS
    return [name for name in wanted if program(name) is None]


def program(name: str) -> str | None:
    """Path of a program; the daemons lie in folders that a user's PATH may leave out."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], what: str, seconds: float = START_SECONDS, pause: float = 0.1) -> None:
    """Wait until a condition holds, and fail with what was waited for."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not after {seconds} s")
        time.sleep(pause)


def _end_with_parent() -> None:
    """In a child: end when the process that started it ends, however that ends (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def can_cut_names() -> bool:
    """Whether this machine lets a process have its own view of files, in which no name server stands."""
    return (
        os.geteuid() == 0
        and program("unshare") is not None
        and not subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode
    )


@dataclass
class Cluster:
    """A cluster under a folder.

    Attributes:
        folder: Configuration, state and logs.
        accounting: Whether it has slurmdbd with MariaDB, which sacct asks.
        clients: Processes, each the first of its group, that end with the cluster.
    """

    folder: Path
    accounting: bool = False
    clients: list[subprocess.Popen[str]] = field(default_factory=list)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def configuration(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def record(self) -> Path:
        return self.folder / "sbatch.jsonl"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which commands find this cluster."""
        path = os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
        return {"SLURM_CONF": str(self.configuration), "PATH": path, "OMP_NUM_THREADS": "1"}

    def submitted(self, folder: Path) -> list[list[str]]:
        """The arguments of each sbatch call from a folder, in their order."""
        lines = self.record.read_text("utf-8").splitlines() if self.record.exists() else []
        calls = [json.loads(line) for line in lines]
        return [call["arguments"] for call in calls if Path(call["folder"]) == folder]

    def run(self, *command: str) -> str:
        """Run a command against this cluster and give what it printed."""
        answer = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True)
        assert answer.returncode == 0, f"{' '.join(command)}: {answer.stdout}{answer.stderr}"
        return answer.stdout

    def start(self) -> None:
        """Start every daemon and wait until both nodes are idle; leave nothing behind where that fails."""
        for name in ("state", "spool", "log", "gpu", "bin"):
            (self.folder / name).mkdir(parents=True)
        try:
            self._start_munge()
            self._write_configuration()
            if self.accounting:
                self._start_accounting()
            self._start_daemon("slurmctld", "slurmctld", "-D", "-f", str(self.configuration))
            for node in NODES:
                self._start_node(node)
            wait_until(lambda: self.node_states() == dict.fromkeys(NODES, "idle"), "two idle nodes")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the clients, cancel every job, then end the daemons, the youngest first."""
        for client in self.clients:
            if client.poll() is None:
                os.killpg(client.pid, signal.SIGKILL)
                client.wait()
        if "slurmctld" in self._processes:
            environment = {**os.environ, **self.environment}
            subprocess.run(["scancel", "--user", getpass.getuser()], env=environment, capture_output=True, timeout=60)
            deadline = time.monotonic() + STOP_SECONDS
            while self._has_steps() and time.monotonic() < deadline:
                time.sleep(0.1)
        for process in reversed(self._processes.values()):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def node_states(self) -> dict[str, str]:
        """Each node's state, such as idle or mixed."""
        answer = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--partition", "cpu", "--format", "%N %t"],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
        )
        return dict(line.split() for line in answer.stdout.splitlines())

    def jobs(self, name_prefix: str, *states: str) -> dict[str, str]:
        """The nodes of jobs by id, whose names begin with the prefix and which are in one of these states."""
        answer = self.run("squeue", "--noheader", "--states", ",".join(states) or "all", "--format", "%i|%j|%N|%T")
        rows = [line.split("|") for line in answer.splitlines()]
        return {number: node for number, name, node, _ in rows if name.startswith(name_prefix)}

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(1024))
        files = {"key-file": key, "socket": self.folder / "munge.sock", "pid-file": self.folder / "munged.pid"}
        files |= {"log-file": self.folder / "log/munged.log", "seed-file": self.folder / "munge.seed"}
        options = [f"--{name}={path}" for name, path in files.items()]
        self._start_daemon("munged", "munged", "--foreground", "--force", *options)
        wait_until((self.folder / "munge.sock").exists, "munge's socket")

    def _write_configuration(self) -> None:
        host = socket.gethostname().split(".")[0]
        nodes = [
            NODE.format(name=name, host=host, port=free_port(), cpus=CPUS_OF_NODE, memory=MEMORY_OF_NODE_MB)
            for name in NODES
        ]
        self._accounting_port = free_port()
        self.configuration.write_text(
            CONFIGURATION.format(
                folder=self.folder,
                user=getpass.getuser(),
                controller_port=free_port(),
                nodes="\n".join(nodes),
                accounting="slurmdbd" if self.accounting else "none",
                accounting_lines=f"AccountingStorageHost=localhost\nAccountingStoragePort={self._accounting_port}\n"
                f"AccountingStoragePass={self.folder}/munge.sock\nAccountingStorageTRES=gres/gpu\n"
                if self.accounting
                else "",
            ),
            "utf-8",
        )
        lines = []
        for node in NODES:
            (self.folder / f"gpu/{node}").touch()
            lines.append(f"NodeName={node} Name=gpu Type=a100 File={self.folder}/gpu/{node}")
        (self.folder / "gres.conf").write_text("\n".join(lines) + "\n", "utf-8")
        self._write_command("epilog", EPILOG.format(python=sys.executable, configuration=self.configuration))
        self._write_command("srun", SRUN.format(configuration=self.configuration, program=program("srun")))
        self._write_command(
            "sbatch", SBATCH.format(python=sys.executable, record=str(self.record), program=program("sbatch"))
        )

    def _write_command(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text, "utf-8")
        path.chmod(0o755)

    def _start_node(self, node: str) -> None:
        """Start a node, on which names cannot be resolved where this machine lets it be cut off."""
        command = [str(program("slurmd")), "-D", "-f", str(self.configuration), "-N", node]
        if can_cut_names():
            nowhere = self.folder / "resolv.conf"
            nowhere.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n", "utf-8")
            script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", script, str(nowhere), *command]
        self._start_daemon(node, *command)

    def _start_accounting(self) -> None:
        data, mysql_socket = self.folder / "mysql/data", self.folder / "mysql/mysqld.sock"
        data.parent.mkdir()
        user = getpass.getuser()
        self.run(
            *("mysql_install_db", f"--user={user}", f"--datadir={data}", "--skip-test-db"),
            "--auth-root-authentication-method=socket",
        )
        files = (f"--datadir={data}", f"--socket={mysql_socket}", f"--pid-file={self.folder}/mysqld.pid")
        limits = ("--skip-networking", "--innodb-buffer-pool-size=64M")
        self._start_daemon("mariadbd", "mariadbd", "--no-defaults", f"--user={user}", *files, *limits)
        wait_until(mysql_socket.exists, "MariaDB's socket")
        create = "CREATE DATABASE IF NOT EXISTS slurm_acct_db"
        self.run("mariadb", "--no-defaults", f"--socket={mysql_socket}", "-e", create)
        configuration = self.folder / "slurmdbd.conf"
        configuration.touch(0o600)
        configuration.write_text(ACCOUNTING.format(folder=self.folder, port=self._accounting_port, user=user), "utf-8")
        # The client library takes the socket of "localhost" from MYSQL_UNIX_PORT.
        self._start_daemon("slurmdbd", "slurmdbd", "-D", MYSQL_UNIX_PORT=str(mysql_socket))
        wait_until(lambda: self._answers(self._accounting_port), "slurmdbd")
        for words in ("cluster test", "account lab cluster=test", f"user {user} account=lab cluster=test"):
            self.run("sacctmgr", "--immediate", "add", *words.split())

    @staticmethod
    def _answers(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def _start_daemon(self, name: str, *command: str, **variables: str) -> None:
        with (self.folder / f"log/{name}.out").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                [str(program(command[0])), *command[1:]],
                env={**os.environ, **self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_parent,
            )

    def _has_steps(self) -> bool:
        """Whether a job's processes are still there: those of slurmstepd, which outlive their slurmd."""
        answer = subprocess.run(
            ["squeue", "--noheader", "--states", "RUNNING,COMPLETING"],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
        )
        return bool(answer.stdout.strip())
