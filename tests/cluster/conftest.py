"""One cluster and one finished run for all tests; each test works on a copy of that run."""

import pytest
from cluster_project import copy_of, make_project, outputs_watched
from slurm_cluster import Cluster, missing_programs

# SLURM looks once a second: less memory than the Python that starts the job takes, so that no fast machine is missed.
MEMORY_OF_CACHE = '  cache_pixels: {mem_mb: "30 * attempt ** 6"}\n'


@pytest.fixture(scope="session")
def slurm_installed():
    missing = missing_programs()
    if missing:
        pytest.skip(f"SLURM is not installed here: no {', '.join(missing)}. Debian: apt-get install slurm-wlm munge")


@pytest.fixture(scope="session")
def cluster(slurm_installed, tmp_path_factory):
    """A running cluster."""
    cluster = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def finished(cluster, tmp_path_factory):
    """A copy of the project in which everything was made on the cluster, and what Snakemake printed; not to be changed.

    No output was half-written at any moment. One of its jobs, cache_pixels, was given too little memory for its first
    attempt.
    """
    project = make_project(tmp_path_factory.mktemp("finished") / "project", cluster)
    profile = project.root / "profiles/slurm/config.yaml"
    before = profile.read_text("utf-8")
    profile.write_text(before.replace("set-resources:\n", f"set-resources:\n{MEMORY_OF_CACHE}"), "utf-8")
    with outputs_watched(project, pause_seconds=2):
        printed = project.snakemake()
    profile.write_text(before, "utf-8")
    (project.root / "printed.txt").write_text(printed, "utf-8")
    return project


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project to change, time stamps and hard links as they were."""
    return copy_of(finished, tmp_path / "project")
