"""Which jobs of a queue are this folder's, and that they are cancelled to the last; SLURM's programs are stand-ins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scanline.core import cluster_jobs
from scanline.core.cluster_jobs import ClusterJob, cancel_jobs, jobs_of_folder, refuse_running_snakemake
from scanline.core.errors import InputError

QUEUE = """\
7|RUNNING|scanline_1|{folder}|rule_train_classifier_wildcards_a|b
8_2|PENDING|scanline_1|{folder}|rule_scan_files
9|RUNNING|scanline_2|{folder}/other|rule_scan_files
10|RUNNING|scanlinear|{folder}|other
11|RUNNING|bash|{folder}|(null)
"""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A file that squeue prints, whatever it is asked, and out of which scancel takes jobs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    path = tmp_path / "queue"
    path.write_text(QUEUE.format(folder=tmp_path), "utf-8")
    write_program(programs / "squeue", f"cat {path}")
    write_program(programs / "scancel", f'for job in "$@"; do sed -i "/^$job|/d" {path}; done')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return path


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)


def test_jobs_are_known_by_prefix_and_folder(queue, tmp_path):
    assert jobs_of_folder(tmp_path) == [
        ClusterJob("7", "RUNNING", "rule_train_classifier_wildcards_a|b"),
        ClusterJob("8_2", "PENDING", "rule_scan_files"),
    ]


def test_these_are_cancelled_and_no_others(queue, tmp_path):
    cancel_jobs(jobs_of_folder(tmp_path), tmp_path)
    left = [line.partition("|")[0] for line in queue.read_text("utf-8").splitlines()]
    assert left == ["9", "10", "11"]


def test_a_job_that_does_not_end_is_told(queue, tmp_path, monkeypatch):
    write_program(tmp_path / "bin/scancel", "true")
    monkeypatch.setattr(cluster_jobs, "ENDING_SECONDS", 0)
    with pytest.raises(InputError, match="job 7: found RUNNING 0 s after it was cancelled"):
        cancel_jobs(jobs_of_folder(tmp_path), tmp_path)


def test_a_machine_without_slurm_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="squeue: found no such command"):
        jobs_of_folder(tmp_path)


def test_what_squeue_complains_of_is_told(queue, tmp_path):
    write_program(tmp_path / "bin/squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(InputError, match="found Unable to contact slurm controller"):
        jobs_of_folder(tmp_path)


@pytest.mark.parametrize("in_job", [False, True])
def test_a_snakemake_that_runs_here_is_refused_unless_it_is_a_jobs(tmp_path, in_job):
    script = tmp_path / "snakemake"
    script.write_text("print('started', flush=True)\ninput()\n", "utf-8")
    environment = {**os.environ, **({"SLURM_JOB_ID": "7"} if in_job else {})}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"started\n"
        if in_job:
            refuse_running_snakemake(tmp_path)
        else:
            with pytest.raises(InputError, match=f"process {process.pid}"):
                refuse_running_snakemake(tmp_path)
        refuse_running_snakemake(tmp_path / "elsewhere")
    finally:
        process.communicate(b"\n")
