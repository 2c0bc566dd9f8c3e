"""Every preset plans; targets, profiles and wrong input behave as the README says."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (REPOSITORY / "config/presets").glob("*.yaml"))
TARGETS = ["default", "all", "figures", "report", "phe_sich"]
pytestmark = pytest.mark.workflow


def run(*command):
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def plan(folder, *arguments):
    """A dry run that has made nothing yet: its results would lie in `folder`."""
    return run(sys.executable, "-m", "snakemake", "--dry-run", *arguments, "--config", f"results={folder}")


@cache
def jobs_under(preset: str) -> dict[str, int]:
    """The number of jobs of each rule, all targets asked for in one dry run: it fails where one of them does."""
    with TemporaryDirectory() as folder:
        answer = run(
            *(sys.executable, "-m", "snakemake", "--dry-run", *TARGETS),
            *("--config", f"results={folder}", f"preset={preset}"),
        )
    assert answer.returncode == 0, answer.stderr
    table = answer.stdout.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
    return {rule: int(count) for rule, count in map(str.split, table)}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_target_plans_under_every_preset(preset):
    jobs = jobs_under(preset)
    assert {*TARGETS, "train_classifier", "write_report", "write_overview"} <= jobs.keys()


def test_the_demo_stays_small():
    jobs = jobs_under("demo")
    made = jobs["total"] - sum(jobs[target] for target in TARGETS)
    # 19 for data, splits, comparison and pages, four for each of five models, ten to record environments
    assert made <= 49


def test_the_demo_has_the_study_of_several_sources(tmp_path):
    command = (sys.executable, "-m", "snakemake", "--dry-run", "ich_detection")
    answer = run(*command, "--config", f"results={tmp_path}", "preset=demo")
    assert answer.returncode == 0, answer.stderr
    table = answer.stdout.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
    jobs = {rule: int(count) for rule, count in map(str.split, table)}
    assert (jobs["curate_source"], jobs["train_detector"], jobs["train_classifier"]) == (3, 2, 1)
    # 19 for data, split and pages, five for augmentation, six for two sets, four for each of three models, nine to
    # record environments
    assert jobs["total"] <= 52


@pytest.mark.parametrize(
    ("study", "sources", "kind", "runs"), [("ct_hematoma", 2, "multiclass", 3), ("chestxray14", 1, "multilabel", 1)]
)
def test_the_demo_trains_and_scores_a_classifier_of_each_study_of_images(tmp_path, study, sources, kind, runs):
    command = (sys.executable, "-m", "snakemake", "--dry-run", study)
    answer = run(*command, "--config", f"results={tmp_path}", "preset=demo")
    assert answer.returncode == 0, answer.stderr
    table = answer.stdout.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
    jobs = {rule: int(count) for rule, count in map(str.split, table)}
    assert (jobs["acquire_source"], jobs["train_classifier"], jobs[f"evaluate_{kind}"]) == (sources, runs, runs)
    assert jobs[f"plot_{kind}"] == runs
    assert jobs["total"] <= 40
    assert "acquire_weights" not in jobs


def test_make_demo_runs_every_study_of_the_demo_preset():
    text = (REPOSITORY / "Makefile").read_text("utf-8")
    recipe = text.split("\ndemo: ")[1].split("\n\n")[0]
    studies = yaml.safe_load((REPOSITORY / "config/presets/demo.yaml").read_text("utf-8"))["studies"]
    assert all(name in recipe for name in studies if name != "phe_sich")  # phe_sich is of the default target


def test_the_demo_has_every_kind_of_task():
    kinds = {"classifier": 2, "multilabel": 1, "detector": 1, "segmenter": 1}
    jobs = jobs_under("demo")
    assert {kind: jobs[f"evaluate_{kind}"] for kind in kinds} == kinds
    assert {kind: jobs[f"plot_{kind}"] for kind in kinds} == kinds


@pytest.mark.parametrize("target", ["all", "phe_sich", "figures", "report"])
def test_targets_plan(target, tmp_path):
    answer = plan(tmp_path, target)
    assert answer.returncode == 0, answer.stderr
    assert ("write_report" in answer.stdout) == (target != "figures")


def test_a_single_file_plans_what_it_needs_and_no_more(tmp_path):
    answer = plan(tmp_path, f"{tmp_path}/phe_sich/splits/grouped_seed123/receipt.json")
    assert answer.returncode == 0, answer.stderr
    assert "verify_split" in answer.stdout
    assert "train_classifier" not in answer.stdout


def test_the_slurm_profile_plans_and_training_asks_for_a_gpu(tmp_path):
    answer = plan(tmp_path, "--profile", "profiles/slurm")
    assert answer.returncode == 0, answer.stderr
    assert "gpu=1" in answer.stdout


def test_training_waits_for_the_receipt(tmp_path):
    answer = plan(tmp_path, f"{tmp_path}/phe_sich/models/grouped/classify/resnet18/seed42/model.pt")
    assert "verify_split" in answer.stdout


def test_a_wrong_configuration_is_one_line_before_any_job(tmp_path):
    answer = run(sys.executable, "-m", "snakemake", "--dry-run", "--config", "preset=quick")
    assert answer.returncode != 0
    assert "config/config.yaml: preset: found 'quick'; expected one of" in answer.stderr + answer.stdout
    assert "Traceback" not in answer.stderr + answer.stdout


def test_an_unknown_split_in_a_path_is_told(tmp_path):
    answer = plan(tmp_path, f"{tmp_path}/phe_sich/splits/groped/receipt.json")
    assert answer.returncode != 0
    assert "groped" in answer.stderr + answer.stdout
    assert "Traceback" not in answer.stderr + answer.stdout


@pytest.mark.parametrize("data", ["", "no such folder"])
def test_missing_data_is_one_line_that_says_how_to_get_it(data):
    if not data and (REPOSITORY / "data/phe_sich_ids").exists():
        pytest.skip("data/phe_sich_ids is there")
    answer = run(sys.executable, "workflow/scripts/link_data.py", "--study", "phe_sich", "--data", data)
    assert answer.returncode == 1
    assert "figshare.com" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_no_script_is_thick():
    for path in (REPOSITORY / "workflow/scripts").glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) <= 45, path.name


LABELLED = """
title: Which haemorrhage
description: Labels of slices from a table, no box and no mask.
sources:
  slices:
    title: Slices
    license: none
    citation: nobody
    url: https://example.org
    acquire: {method: local, path: data/slices, how_to_get: Draw them.}
    curate:
      adapter: pascal_voc
      layout:
        image: 'image(?P<patient>\\d+)/(?P<name>\\d+)_(?P<slice>\\d+)\\.png'
        annotation: 'annotation(?P<patient>\\d+)/(?P<name>\\d+)_(?P<slice>\\d+)\\.xml'
        name_digits: 4
        first_pixel: 0
      classes: {}
      annotated_classes: []
      label_table: {path: labels.csv, columns: {ivh: IVH, iph: IPH, sah: SAH}}
labels: [ivh, iph, sah]
splits:
  grouped: {protocol: grouped, ratios: {train: 0.7, val: 0.15, test: 0.15}, balance: [ivh, iph, sah], seed: 1}
tasks:
  which: {kind: multilabel, targets: [ivh, iph, sah]}
  subarachnoid: {kind: binary, target: sah}
  kind_of_bleed: {kind: multiclass, targets: [ivh, iph, sah], class_weights: true}
models:
  resnet18: {architecture: resnet18, weights: none, channels: 1}
runs:
  - {split: grouped, tasks: [which, subarachnoid, kind_of_bleed], models: [resnet18], seeds: [1]}
pixels: {image_size_px: 32}
"""


def test_a_study_of_which_a_label_table_gives_the_classes_plans(clone):
    (clone.root / "config/studies/labelled.yaml").write_text(LABELLED, "utf-8")
    answer = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--config", "studies=[labelled]"],
        cwd=clone.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for rule in (
        "curate_source",
        *(f"evaluate_{kind}" for kind in ("multilabel", "multiclass", "classifier")),
        "write_report",
    ):
        assert rule in answer.stdout
    assert "acquire_weights" not in answer.stdout
