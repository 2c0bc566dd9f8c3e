"""The SLURM jobs of a folder: those that a killed Snakemake left behind are found by name and place, and cancelled."""

import getpass
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scanline.core.errors import InputError

PREFIX = "scanline"  # slurm-jobname-prefix in profiles/slurm/config.yaml
ENDING_SECONDS = 300  # SLURM gives a job 30 s (KillWait) to end, then an epilogue may follow


@dataclass(frozen=True)
class ClusterJob:
    """A job in the queue.

    Attributes:
        number: SLURM's id; of an array's task, with the task's number.
        state: Such as RUNNING or PENDING.
        comment: What Snakemake calls it: the rule and its wildcards.
    """

    number: str
    state: str
    comment: str


def jobs_of_folder(folder: Path, prefix: str = PREFIX) -> list[ClusterJob]:
    """This user's jobs in the queue that were submitted from a folder and whose names begin with the prefix.

    Raises:
        InputError: If squeue is missing or refuses to answer.
    """
    fields = "%i|%T|%j|%Z|%k"
    answer = _slurm("squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", fields)
    rows = [line.split("|", 4) for line in answer.splitlines()]
    return [
        ClusterJob(number, state, comment)
        for number, state, name, place, comment in rows
        if name.startswith(f"{prefix}_") and Path(place) == folder
    ]


def cancel_jobs(jobs: Sequence[ClusterJob], folder: Path, prefix: str = PREFIX) -> None:
    """Cancel jobs and wait until none of the folder's is left, so that nothing writes into it any more.

    Raises:
        InputError: If some do not end.
    """
    if jobs:
        _slurm("scancel", *(job.number for job in jobs))
    end = time.monotonic() + ENDING_SECONDS
    while left := jobs_of_folder(folder, prefix):
        if time.monotonic() > end:
            raise InputError(
                f"job {left[0].number}",
                found=f"{left[0].state} {ENDING_SECONDS} s after it was cancelled ({len(left)} such)",
                expected="no job in the queue",
                next_step="Wait until squeue --me no longer lists it, then run the same command again.",
            )
        time.sleep(0.5)


def refuse_running_snakemake(folder: Path) -> None:
    """Check that no Snakemake runs in a folder on this machine, those inside SLURM jobs left out.

    Raises:
        InputError: If one does.
    """
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            inside_job = b"\0SLURM_JOB_ID=" in b"\0" + (process / "environ").read_bytes()
            is_here = (process / "cwd").readlink() == folder
        except OSError:  # it has ended, or it is another user's
            continue
        if is_here and not inside_job and b"snakemake" in {word.rpartition(b"/")[2] for word in words[:3]}:
            raise InputError(
                str(folder),
                found=f"a Snakemake that still runs here, process {process.name}",
                expected="none",
                next_step=f"Stop it first: kill -INT {process.name} cancels its jobs itself.",
            )


def _slurm(command: str, *arguments: str) -> str:
    try:
        answer = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        answer = None
    if answer is None or answer.returncode:
        raise InputError(
            command,
            found="no such command" if answer is None else answer.stderr.strip() or f"status {answer.returncode}",
            expected="SLURM's answer",
            next_step="Run this on a machine that submits jobs.",
        )
    return answer.stdout
