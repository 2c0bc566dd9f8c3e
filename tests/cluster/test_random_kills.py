"""Snakemake killed twenty times at random moments of a run that begins with nothing: it always recovers."""

import os
import random
import signal
import subprocess
from contextlib import suppress

import pytest
from cluster_project import assert_equal_weights, assert_outputs_whole, make_project, outputs_watched

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

KILLS = 20
CANCEL = ("make", "--no-print-directory", "cancel-jobs")


def test_twenty_kills_at_random_moments_are_all_recovered(finished, tmp_path):
    drawn = random.Random(0)
    rounds = 0
    kills = 0
    while kills < KILLS:
        rounds += 1
        project = make_project(tmp_path / f"round{rounds}", finished.cluster)
        with outputs_watched(project):
            while kills < KILLS and not killed_or_finished(project, drawn.uniform(4, 40)):
                kills += 1
                print(project.command(*CANCEL))
            project.snakemake()
        assert "Nothing to be done" in project.snakemake("--dry-run")
        assert_equal_weights(project, finished)
        assert assert_outputs_whole(project) == assert_outputs_whole(finished)


def killed_or_finished(project, seconds):
    """Start the workflow and kill it after so long; True where it had ended by itself."""
    process = project.start()
    with suppress(subprocess.TimeoutExpired):
        printed, _ = process.communicate(timeout=seconds)
        assert process.returncode == 0, printed[-8000:]
        return True
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return False
