"""What profiles/slurm plans: who submits what, with which resources, and how many calls of sbatch that takes."""

import math
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from tempfile import TemporaryDirectory

import pytest
import yaml
from project_copy import REPOSITORY

pytestmark = pytest.mark.workflow

DRY_RUN = (sys.executable, "-m", "snakemake", "--dry-run", "--profile", "profiles/slurm")
PAGE = REPOSITORY / "docs/hpc.md"
STUDIES = ("phe_sich", "chestxray14", "ct_hematoma", "fastmri_plus", "ich_detection", "meniscus")
ROWS = {  # the rows of the table in docs/hpc.md
    "the demo": ("demo", ("all",)),
    "`phe_sich` under `cpu_quick`": ("cpu_quick", ("phe_sich",)),
    "`phe_sich`": (None, ("phe_sich",)),
    "all studies": (None, ("all", *STUDIES)),
    "all studies under `gpu`": ("gpu", ("all", *STUDIES)),
}
TARGETS = {"all", *STUDIES}
LOCAL = {"acquire_source", "acquire_weights", "record_environment", "write_receipt", "write_report", "write_overview"}
ARRAY_RULES = {
    *("scan_files", "split_grouped", "verify_split", "augment_images"),
    *(f"evaluate_{kind}" for kind in ("classifier", "multilabel", "multiclass", "segmenter", "detector")),
    *(f"plot_{kind}" for kind in ("classifier", "multilabel", "multiclass", "segmenter", "detector")),
}


@cache
def planned(preset, targets):
    """What a dry run through the profile prints of a folder in which nothing has been made."""
    with TemporaryDirectory() as folder:
        config = [f"results={folder}", *([f"preset={preset}"] if preset else [])]
        answer = subprocess.run(
            [*DRY_RUN, *targets, "--config", *config],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def jobs_of(printed):
    """The number of jobs by rule: of those that are submitted, and of those that run where Snakemake runs."""
    jobs = Counter(re.findall(r"^rule (\w+):$", printed, re.MULTILINE))
    submitted = {rule: count for rule, count in jobs.items() if rule not in LOCAL | TARGETS}
    return submitted, {rule: count for rule, count in jobs.items() if rule in LOCAL}


def local_rules():
    """The rules that the workflow keeps where Snakemake runs."""
    texts = [path.read_text("utf-8") for path in (REPOSITORY / "workflow/rules").glob("*.smk")]
    blocks = [block for text in texts for block in re.findall(r"^localrules:\n((?:    \w+,\n)+)", text, re.MULTILINE)]
    return set(re.findall(r"\w+", "".join(blocks)))


def profile():
    """The values of profiles/slurm/config.yaml that need no site."""
    return yaml.safe_load((REPOSITORY / "profiles/slurm/config.yaml").read_text("utf-8"))


def test_the_documented_rules_go_out_as_arrays():
    assert set(profile()["slurm-array-jobs"].split(",")) == ARRAY_RULES
    submitted, _ = jobs_of(planned(*ROWS["all studies"]))
    assert set(submitted) > ARRAY_RULES


@pytest.mark.parametrize("name", ROWS)
def test_the_number_of_jobs_and_of_sbatch_calls_is_as_documented(name):
    submitted, local = jobs_of(planned(*ROWS[name]))
    limit = profile()["slurm-array-limit"]
    fewest = sum(math.ceil(count / limit) if rule in ARRAY_RULES else count for rule, count in submitted.items())
    most, here = sum(submitted.values()), sum(local.values())
    assert f"| {name} | {most + here} | {here} | {most} | {fewest} |" in PAGE.read_text("utf-8").splitlines()


def test_only_what_fetches_and_pages_stay_where_snakemake_runs():
    assert local_rules() == LOCAL


def test_every_submitted_job_has_a_class_and_no_rule_a_partition():
    printed = planned(*ROWS["all studies under `gpu`"])
    for block in re.findall(r"^rule \w+:\n(?:    .*\n)+", printed, re.MULTILINE):
        resources = re.search(r"    resources: (.*)", block)[1]
        if re.match(r"rule (\w+)", block)[1] in LOCAL | TARGETS:
            continue
        assert re.search(r"\bmem_mb=\d+", resources), block
        assert re.search(r"\bruntime=\d+", resources), block
        on_gpu = re.match(r"rule (train|predict)_", block) is not None
        assert ("gpu=1" in resources) == on_gpu, block
    rules = "".join(path.read_text("utf-8") for path in (REPOSITORY / "workflow").rglob("*.smk"))
    assert "partition" not in rules


@pytest.mark.parametrize(
    ("site", "resources"),
    [
        ({}, {"gpu=1"}),
        ({"gpu_model": "a100"}, {"gpu=1", "gpu_model=a100"}),
        ({"gres": "gpu:a100:1"}, {"gpu=0", "gres=gpu:a100:1"}),
        ({"account": "lab", "qos": "long"}, {"slurm_account=lab", "qos=long", "gpu=1"}),
        ({"scratch": "/tmp/of the node"}, {"scratch=/tmp/of the node", "gpu=1"}),
    ],
)
def test_what_a_site_edits_reaches_the_training_jobs(clone, site, resources):
    path = clone.root / "profiles/slurm/site.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text("utf-8")), **site}), "utf-8")
    model = "results/phe_sich/models/grouped/classify/resnet18/seed42/model.pt"
    answer = subprocess.run([*DRY_RUN, model], cwd=clone.root, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    block = re.search(r"^rule train_classifier:\n(?:    .*\n)+", answer.stdout, re.MULTILINE)[0]
    assert resources <= set(re.search(r"resources: (.*)", block)[1].split(", "))


@pytest.mark.parametrize("name", ["config.yaml", "site.yaml"])
def test_every_setting_of_the_profile_is_explained(name):
    lines = (REPOSITORY / "profiles/slurm" / name).read_text("utf-8").splitlines()
    settings = [number for number, line in enumerate(lines) if re.match(r"[a-z][a-z_-]*:", line)]
    assert len(settings) > 5
    for number in settings:
        explained = "#" in lines[number] or lines[number - 1].startswith("#") or number - 1 in settings
        assert explained, lines[number]
