"""A site that keeps accounts: slurmdbd with MariaDB, the state of jobs asked of sacct, an account to charge."""

import pytest
from cluster_project import MODEL, assert_equal_weights, copy_of
from slurm_cluster import Cluster, missing_programs

pytestmark = pytest.mark.cluster


@pytest.fixture
def accounting(finished, tmp_path):
    """A cluster that keeps accounts."""
    missing = missing_programs(accounting=True)
    if missing:
        pytest.skip(f"no {', '.join(missing)} here. Debian: apt-get install slurmdbd mariadb-server")
    cluster = Cluster(tmp_path / "cluster", accounting=True)
    cluster.start()
    yield cluster
    cluster.stop()


def test_sacct_tells_the_state_of_jobs_and_the_account_is_charged(accounting, finished, tmp_path):
    project = copy_of(finished, tmp_path / "project", accounting)
    project.write_site(status_command="sacct", account="lab")
    project.forget_model()
    project.snakemake(MODEL)
    (call,) = project.submitted
    assert call[call.index("-A") + 1] == "lab"
    asked = ("--allocations", "--noheader", "--parsable2", "--format", "JobName,Account,State,AllocTRES")
    (row,) = accounting.run("sacct", *asked).splitlines()
    name, account, state, resources = row.split("|")
    assert name.startswith("scanline_")
    assert (account, state) == ("lab", "COMPLETED")
    assert "gres/gpu=1" in resources
    assert_equal_weights(project, finished)


def test_an_account_that_does_not_exist_is_told_in_one_line(accounting, finished, tmp_path):
    project = copy_of(finished, tmp_path / "project", accounting)
    project.write_site(status_command="sacct", account="nobodys")
    project.forget_model()
    process = project.start(MODEL, "--retries", "0")
    printed, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "The given account nobodys appears to be invalid" in printed
