"""What a run of everything leaves on the machine: results and raw data, and nothing else."""

import subprocess
import sys

import pytest
from conftest import without_network

pytestmark = pytest.mark.workflow
WRITTEN = {"results", "data", ".snakemake"}  # folders that a run may write to
# Caches of Snakemake and matplotlib, which both find in the home folder; ultralytics would settle beside them.
CACHES = {".cache/snakemake", ".cache/matplotlib", ".config/matplotlib"}


def test_nothing_is_left_among_the_temporary_files(finished):
    assert list((finished.root.parent / "temporary").iterdir()) == []


def test_nothing_is_left_at_home_but_caches(finished):
    home = finished.root.parent / "home"
    assert {str(path.relative_to(home)) for path in home.glob("*/*")} <= CACHES
    assert {path.name for path in home.iterdir()} <= {".cache", ".config"}


def test_nothing_is_written_into_the_project_but_results_and_raw_data(finished):
    """The preset was the last file written before the run; Python's own compiled files are left aside."""
    start = finished.preset_file.stat().st_mtime_ns
    later = [path for path in finished.root.rglob("*") if path.is_file() and path.stat().st_mtime_ns > start]
    outside = [path for path in later if path.relative_to(finished.root).parts[0] not in WRITTEN]
    assert [path for path in outside if path.parent.name != "__pycache__"] == []
    assert len(later) > len(outside)


@pytest.mark.skipif(not without_network(), reason="the machine does not let a process be cut off from the network")
def test_the_run_had_no_network():
    """The command that the run of everything was started by leaves it a loopback device that is down, and no other."""
    look = "import socket; print([name for _, name in socket.if_nameindex()])"
    command = [*without_network(), sys.executable, "-c", look]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "['lo']"
