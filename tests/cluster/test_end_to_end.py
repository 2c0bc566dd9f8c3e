"""The whole workflow through profiles/slurm: what is submitted, where it runs, what is done again."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from cluster_project import MODEL, RUN, assert_equal_weights, finish
from project_copy import REPOSITORY
from slurm_cluster import SBATCH, can_cut_names

pytestmark = pytest.mark.cluster

LOCAL = {"acquire_source", "write_receipt", "write_report", "write_overview"}
LINE = re.compile(r"<!-- the sbatch call of a training job -->\n+```sh\n(.*?)```", re.DOTALL)


def calls_of(project, rule):
    return [call for call, name in zip(project.submitted, project.submitted_rules(), strict=True) if name == rule]


def value_of(call, option):
    return call[call.index(option) + 1]


def test_the_workflow_ends_with_its_report(finished):
    assert (finished.results / "report.html").read_text("utf-8").rstrip().endswith("</html>")
    assert "Nothing to be done" in finished.snakemake("--dry-run")


def test_what_fetches_and_pages_are_not_submitted(finished):
    submitted = set(finished.submitted_rules())
    assert not submitted & LOCAL
    assert {"scan_files", "train_classifier", "predict_classifier", "plot_classifier"} <= submitted
    assert all((finished.results / f"logs/{rule}").is_dir() for rule in LOCAL)


def test_shards_go_out_as_one_array(finished):
    (call,) = calls_of(finished, "scan_files")
    assert "--array=1-3" in call
    assert len(list((finished.results / "phe_sich/sources/phe_sich_ids/scan").glob("*.parquet"))) == 3


def test_training_and_prediction_get_a_gpu_and_its_partition_others_do_not(finished):
    for call, rule in zip(finished.submitted, finished.submitted_rules(), strict=True):
        on_gpu = rule in {"train_classifier", "predict_classifier"}
        assert ("--gpus=1" in call) == on_gpu, rule
        assert value_of(call, "-p") == ("gpu" if on_gpu else "cpu"), rule


def test_a_job_that_runs_out_of_memory_is_tried_again_with_more_memory_and_time(finished):
    calls = calls_of(finished, "cache_pixels")
    assert [value_of(call, "--mem") for call in calls] == ["30", "1920"]
    assert [value_of(call, "-t") for call in calls] == ["720", "1440"]
    printed = (finished.root / "printed.txt").read_text("utf-8")
    assert "Trying to restart job" in printed
    assert (finished.results / "phe_sich/prepared/64px/pixels.npy").exists()


def test_names_of_jobs_begin_with_the_prefix(finished):
    assert all(value_of(call, "--job-name").startswith("scanline_") for call in finished.submitted)


def test_slurm_keeps_the_log_of_the_job_that_failed(finished):
    folder = finished.root / "results/slurm_logs"
    left = {path.relative_to(folder).parts[0] for path in folder.rglob("*.log")}
    assert left - {"rule_scan_files"} == {"rule_cache_pixels"}  # the executor leaves those of arrays too


def test_names_cannot_be_resolved_where_the_jobs_ran(cluster, tmp_path):
    if not can_cut_names():
        pytest.skip("this machine does not let a process have its own view of /etc/resolv.conf")
    look_up = (
        "import socket\n"
        "try:\n    print(socket.getaddrinfo('pypi.org', 443))\n"
        "except socket.gaierror:\n    print('no name')\n"
        "print(socket.gethostbyname('localhost'))"
    )
    command = f"{sys.executable} -c {shlex.quote(look_up)}"
    for node in ("node1", "node2"):
        answer = tmp_path / node
        cluster.run("sbatch", "--wait", "--nodelist", node, "--output", str(answer), "--wrap", command)
        assert answer.read_text("utf-8").split("\n")[:2] == ["no name", "127.0.0.1"]
    assert "nameserver 127.0.0.1\noptions timeout:1" not in Path("/etc/resolv.conf").read_text("utf-8")


def test_a_single_file_is_made_again_by_its_job_alone(project):
    before = len(project.submitted)
    path = project.results / f"phe_sich/metrics/{RUN}/metrics.json"
    text = path.read_text("utf-8")
    path.unlink()
    project.snakemake(str(path.relative_to(project.root)))
    assert project.submitted_rules()[before:] == ["evaluate_classifier"]
    assert path.read_text("utf-8") == text


def test_figures_and_report_are_made_again_without_training(project):
    for path in (*project.results.rglob("*.png"), *project.results.rglob("*.html")):
        path.unlink()
    before = len(project.submitted)
    project.snakemake("figures", "report")
    assert sorted(project.submitted_rules()[before:]) == ["plot_classifier", "plot_study"]
    assert (project.results / "report.html").exists()


def test_scratch_is_used_and_changes_nothing(project, finished, tmp_path):
    scratch = tmp_path / "scratch of the node"
    scratch.mkdir()
    project.write_site(scratch=str(scratch))
    assert "Nothing to be done" in project.snakemake("--dry-run", MODEL)
    project.forget_model()
    project.snakemake(MODEL)
    (copy,) = scratch.iterdir()
    assert copy.read_bytes() == (project.results / "phe_sich/prepared/64px/pixels.npy").read_bytes()
    assert f"read from a copy, {copy}" in project.log("train_classifier")
    assert project.stored().name == finished.stored().name
    assert_equal_weights(project, finished)


def test_the_documented_sbatch_call_is_that_of_a_training_job(project, tmp_path):
    shipped = (REPOSITORY / "profiles/slurm/site.yaml").read_text("utf-8")
    (project.root / "profiles/slurm/site.yaml").write_text(shipped, "utf-8")
    project.write_site(gpu_model="a100", status_command="squeue")
    project.forget_model()
    record, programs = tmp_path / "record.jsonl", tmp_path / "bin"
    programs.mkdir()
    refusing = programs / "sbatch"
    refusing.write_text(SBATCH.format(python=sys.executable, record=str(record), program="/bin/false"), "utf-8")
    refusing.chmod(0o755)
    project.variables["PATH"] = f"{programs}:{project.cluster.environment['PATH']}"
    finish(project.start(MODEL, "--retries", "0"), succeeds=False)
    call = json.loads(record.read_text("utf-8").splitlines()[0])["arguments"]
    documented = LINE.search((REPOSITORY / "docs/hpc.md").read_text("utf-8"))
    assert documented is not None
    assert as_documented(call, project.root) == documented[1]


def as_documented(call, root):
    """A call of sbatch, an option a line; what differs from one call to the next stands in angle brackets."""
    text = "sbatch"
    for word in call:
        word = "--wrap=<command of this job>" if word.startswith("--wrap=") else word
        word = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id of this run>", word)
        word = word.replace(str(root), "<project>")
        text += (" \\\n  " if word.startswith("-") else " ") + word
    return text + "\n"
