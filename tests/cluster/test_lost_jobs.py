"""Jobs that are preempted, killed, too slow or submitted wrongly: each ends in a retry or in one clear line."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from cluster_project import (
    MODEL,
    SITE,
    assert_equal_weights,
    assert_outputs_whole,
    copy_of,
    finish,
    held,
    outputs_watched,
)
from slurm_cluster import Cluster, wait_until

pytestmark = pytest.mark.cluster

CANCEL = ("make", "--no-print-directory", "cancel-jobs")
SLEEPING = ("--output", "/dev/null", "--wrap", "sleep 300")


@pytest.fixture(scope="module")
def too_slow(finished, tmp_path_factory):
    """Started first, since SLURM counts in minutes: a training job that waits past its limit of one minute.

    It runs on a second cluster beside the first. In its second attempt, of two minutes, it need not wait.
    """
    folder = tmp_path_factory.mktemp("too_slow")
    cluster = Cluster(folder / "cluster")
    cluster.start()
    project = copy_of(finished, folder / "project", cluster)
    stored = project.forget_model()

    def wait_for_second_attempt():
        with held(stored):
            process = project.start(MODEL, "--set-resources", "train_classifier:runtime=attempt")
            wait_until(lambda: len(project.submitted) == 2, "a second attempt", seconds=300)
        return finish(process)

    with ThreadPoolExecutor(1) as executor:
        yield project, executor.submit(wait_for_second_attempt)
    cluster.stop()


def job_that_trains(project):
    """Wait until this copy's training job runs, and give its id."""
    wait_until(lambda: project.running("train_classifier"), "a training job", seconds=120)
    return project.running("train_classifier")


def node_of(project, number):
    return project.cluster.run("squeue", "--noheader", "--jobs", number, "--format", "%N").strip()


def test_a_preempted_training_resumes_to_equal_weights(too_slow, project, finished):
    stored = project.forget_model()
    process = project.start(MODEL)
    number = job_that_trains(project)
    wait_until((stored / "checkpoint.pt").exists, "a checkpoint", seconds=120, pause=0.02)
    urgent = (
        "--partition",
        "urgent",
        "--nodelist",
        node_of(project, number),
        "--nodes",
        "1",
        "--gpus",
        "1",
        "--mem",
        "1000",
    )
    answer = project.cluster.run("sbatch", "--parsable", *urgent, "--output", "/dev/null", "--wrap", "sleep 2")
    finish(process)
    state = project.cluster.run("scontrol", "show", "job", answer.strip())
    assert "JobState=COMPLETED" in state
    assert "Restarts=1" in project.cluster.run("scontrol", "show", "job", number)
    assert "resumed after epoch" in project.log("train_classifier")
    assert project.submitted_rules() == ["train_classifier"]  # SLURM put it back itself
    assert_equal_weights(project, finished)


def test_a_job_whose_node_goes_down_runs_on_the_other(project, finished):
    stored = project.forget_model()
    with held(stored):
        process = project.start(MODEL)
        number = job_that_trains(project)
        lost = node_of(project, number)
        project.cluster.run("scontrol", "update", f"nodename={lost}", "state=down", "reason=test")
        wait_until(lambda: node_of(project, number) not in {"", lost}, "the job on the other node", seconds=120)
        project.cluster.run("scontrol", "update", f"nodename={lost}", "state=resume")
    finish(process)
    assert_equal_weights(project, finished)


def test_after_a_kill_one_command_cancels_and_unlocks(project, finished):
    stored = project.forget_model()
    receipt = project.results / "phe_sich/splits/grouped/receipt.html"
    receipt.unlink()
    targets = (MODEL, str(receipt.relative_to(project.root)))
    others = project.cluster.run("sbatch", "--parsable", "--job-name", "scanline_other", *SLEEPING).strip()
    with held(stored), outputs_watched(project):
        process = project.start(*targets)
        number = job_that_trains(project)
        refused = project.attempt(*CANCEL)
        assert f"a Snakemake that still runs here, process {process.pid}" in refused.stderr
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert project.running("train_classifier") == number, "the job outlives its Snakemake"
        assert "Directory cannot be locked" in finish(project.start(*targets), succeeds=False)
        printed = project.command(*CANCEL)
        assert f"{number} RUNNING rule_train_classifier" in printed
        assert "folder unlocked" in printed
        assert project.running("") is None
    assert others in project.cluster.run("squeue", "--noheader", "--format", "%i").split(), "of another folder"
    project.cluster.run("scancel", others)
    with outputs_watched(project):
        project.snakemake(*targets)
    assert_equal_weights(project, finished)
    assert assert_outputs_whole(project) == assert_outputs_whole(finished)


def test_a_partition_that_does_not_exist_is_told_in_one_line(project):
    project.forget_model()
    partitions = {**SITE["partitions"], "gpu_of_another_site": SITE["partitions"]["gpu"]}
    del partitions["gpu"]
    project.write_site(partitions=partitions)
    printed = finish(project.start(MODEL, "--retries", "0"), succeeds=False)
    told = [line for line in printed.splitlines() if "invalid partition specified: gpu_of_another_site" in line]
    assert len(told) == len(project.submitted) == 3, "one line an attempt"
    assert "Traceback" not in printed


def test_a_job_past_its_time_limit_is_tried_again_with_twice_the_time(too_slow, finished):
    project, printing = too_slow
    printed = printing.result()
    assert "SLURM status is: 'TIMEOUT'" in printed
    assert "Trying to restart job" in printed
    assert [call[call.index("-t") + 1] for call in project.submitted] == ["1", "2"]
    assert_equal_weights(project, finished)
