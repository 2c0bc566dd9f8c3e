"""A copy of the project with a study that takes a minute, run through profiles/slurm on a private cluster."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from project_copy import copy_project
from slurm_cluster import CPUS_OF_NODE, MEMORY_OF_NODE_MB, Cluster

PRESET = "tiny"
RUN = "grouped/classify/shufflenet/seed42"
MODEL = f"results/{PRESET}/phe_sich/models/{RUN}/model.pt"
FINISH_SECONDS = 900
STUDY = {
    "all_studies": {
        "pixels": {"image_size_px": 64},
        # auto: the tests hide real GPUs, so that jobs that were given a declared one compute on the CPU
        "training": {"epochs": 12, "patience_epochs": 12, "batch_size": 16, "precision": "float32", "device": "auto"},
        "evaluate": {"bootstrap_resamples": 100},
        "figures": {"resolution_dpi": 50},
    },
    "studies": {
        "phe_sich": {
            "sources": {
                "phe_sich_ids": {
                    "acquire": {
                        "method": "phantom",
                        "path": "data/tiny/phe_sich_ids",
                        "layout": "phe_sich_ids",
                        "patients": 24,
                        "slices_per_patient": 8,
                        "image_size_px": 64,
                        "seed": 7,
                    },
                    "curate": {"scan_shards": 3},
                }
            },
            "splits": {"grouped_seed123": None, "grouped_seed456": None},
            "models": {"shufflenet": {"architecture": "shufflenet_v2_x0_5", "weights": "none", "channels": 1}},
            "runs": [{"split": "grouped", "tasks": ["classify"], "models": ["shufflenet"], "seeds": [42]}],
        }
    },
}
SITE = {
    "partitions": {
        "cpu": {"max_runtime": 2880, "max_mem_mb": MEMORY_OF_NODE_MB, "max_threads": CPUS_OF_NODE},
        "gpu": {"max_runtime": 2880, "max_mem_mb": MEMORY_OF_NODE_MB, "max_threads": CPUS_OF_NODE, "max_gpu": 2},
    },
    "max_threads": 1,
    "jobs": 8,
    "status_command": "squeue",
}
QUICK = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10")


@dataclass(frozen=True)
class ClusterProject:
    """A copy of the project.

    Attributes:
        root: Its folder.
        cluster: Where its jobs run.
        variables: That its commands see beside the cluster's.
    """

    root: Path
    cluster: Cluster
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        return self.root / "results" / PRESET

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.cluster.environment, "CUDA_VISIBLE_DEVICES": "", **self.variables}

    @property
    def submitted(self) -> list[list[str]]:
        """The arguments of each sbatch call of this copy."""
        return self.cluster.submitted(self.root)

    def submitted_rules(self) -> list[str]:
        """The rule of each sbatch call."""
        comments = [call[call.index("--comment") + 1] for call in self.submitted]
        return [comment.removeprefix("rule_").partition("_wildcards_")[0] for comment in comments]

    def write_site(self, **changes: object) -> None:
        """Edit the one file that a site edits."""
        path = self.root / "profiles/slurm/site.yaml"
        values = yaml.safe_load(path.read_text("utf-8"))
        path.write_text(yaml.safe_dump({**values, **changes}), "utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Snakemake through the profile, in a process group of its own."""
        command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", *arguments, *QUICK]
        process = subprocess.Popen(
            [*command, "--config", f"preset={PRESET}"],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.cluster.clients.append(process)
        return process

    def snakemake(self, *arguments: str) -> str:
        """Run Snakemake to its end and give what it printed."""
        return finish(self.start(*arguments))

    def attempt(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, however it ends."""
        return subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True)

    def command(self, *command: str) -> str:
        """Run a command in the project and give what it printed."""
        answer = self.attempt(*command)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout + answer.stderr

    def running(self, rule: str) -> str | None:
        """The id of this copy's job of a rule that runs now."""
        fields = "%i|%T|%k|%Z"
        answer = self.cluster.run("squeue", "--noheader", "--states", "RUNNING", "--format", fields)
        for number, _, comment, place in (line.split("|") for line in answer.splitlines()):
            if place == str(self.root) and comment.startswith(f"rule_{rule}"):
                return number
        return None

    def log(self, rule: str) -> str:
        """The log of a rule's job of RUN."""
        return (self.results / f"logs/{rule}/phe_sich/{RUN}.log").read_text("utf-8")

    def weights(self) -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = torch.load(self.root / MODEL, map_location="cpu", weights_only=True)["state"]
        return state

    def stored(self) -> Path:
        """The folder of RUN in the model store."""
        record = json.loads((self.root / MODEL).with_name("run.json").read_text("utf-8"))
        return self.root / "results/model_store" / record["store_key"]

    def forget_model(self) -> Path:
        """Delete the model, here and in the store; its folder there stays, empty."""
        folder = self.stored()
        for path in (*(self.root / MODEL).parent.iterdir(), *folder.iterdir()):
            path.unlink()
        return folder


def make_project(root: Path, cluster: Cluster) -> ClusterProject:
    """A copy of the project, edited as a user of this cluster would."""
    copy_project(root)
    (root / f"config/presets/{PRESET}.yaml").write_text(yaml.safe_dump(STUDY), "utf-8")
    project = ClusterProject(root, cluster)
    project.write_site(**SITE)
    return project


def copy_of(project: ClusterProject, root: Path, cluster: Cluster | None = None) -> ClusterProject:
    """A copy of a project, on the same cluster or another one."""
    subprocess.run(["cp", "--archive", project.root, root], check=True)
    return ClusterProject(root, cluster or project.cluster)


def finish(process: subprocess.Popen[str], *, succeeds: bool = True) -> str:
    """Wait for Snakemake and give what it printed."""
    try:
        output, _ = process.communicate(timeout=FINISH_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert (process.returncode == 0) == succeeds, output[-8000:]
    return output


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder in the model store, so that its training job waits without computing."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def assert_equal_weights(one: ClusterProject, other: ClusterProject) -> None:
    first, second = one.weights(), other.weights()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def assert_outputs_whole(project: ClusterProject) -> int:
    """Read every file that stands under its final name, and give their number; none may be half-written."""
    count = 0
    for path in sorted(project.results.rglob("*")):
        parts = path.relative_to(project.results).parts
        if not path.is_file() or path.name.startswith(".") or parts[0] in {"logs", "benchmarks"}:
            continue
        with suppress(FileNotFoundError):  # Snakemake removes a file before it is made again
            _read_whole(path)
            count += 1
    return count


@contextmanager
def outputs_watched(project: ClusterProject, pause_seconds: float = 0.5) -> Iterator[None]:
    """Read all outputs again and again while the block runs, and fail with the first that is half-written."""
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(pause_seconds):
            assert_outputs_whole(project)

    with ThreadPoolExecutor(1) as executor:
        watching = executor.submit(watch)
        try:
            yield
        finally:
            stopped.set()
    watching.result()


def _read_whole(path: Path) -> None:
    if path.suffix == ".parquet":
        pd.read_parquet(path)
    elif path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            _ = [arrays[name] for name in arrays]
    elif path.suffix == ".pt":
        torch.load(path, map_location="cpu", weights_only=True)
    elif path.suffix == ".png":
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82"), path
    elif path.suffix == ".html":
        assert path.read_text("utf-8").rstrip().endswith("</html>"), path
    else:
        assert path.suffix in {".csv", ".txt"}, path
        assert path.read_text("utf-8").endswith("\n"), path
