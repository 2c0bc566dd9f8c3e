"""Every preset plans; targets, profiles and wrong input behave as the README says."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (REPOSITORY / "config/presets").glob("*.yaml"))
pytestmark = pytest.mark.workflow


def run(*command):
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def plan(folder, *arguments):
    """A dry run that has made nothing yet: its results would lie in `folder`."""
    return run(sys.executable, "-m", "snakemake", "--dry-run", *arguments, "--config", f"results={folder}")


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_plans(preset, tmp_path):
    answer = run(
        *(sys.executable, "-m", "snakemake", "--dry-run", "--config", f"results={tmp_path}", f"preset={preset}")
    )
    assert answer.returncode == 0, answer.stderr
    assert "train_classifier" in answer.stdout


def test_the_demo_stays_small(tmp_path):
    answer = run(*(sys.executable, "-m", "snakemake", "--dry-run", "--config", f"results={tmp_path}", "preset=demo"))
    total = next(line for line in answer.stdout.splitlines() if line.startswith("total"))
    assert int(total.split()[1]) <= 36  # 16 for data, splits, comparison and pages, and four for each of five models


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
