"""`--sdm conda` and `--containerize`, offline; conda itself is a stand-in, see conda_stand_in."""

import json
import re

import pytest
import yaml
from conda_stand_in import make_conda
from conftest import PRESET, TINY, without_network

pytestmark = pytest.mark.workflow
RULES = {"acquire": ["acquire_source"], "detect": ["train_detector", "predict_detector"]}
CONDA = ("--software-deployment-method", "conda")


@pytest.fixture
def with_conda(clone, tmp_path):
    """A clone, and the folder of the stand-in for conda."""
    clone.preset_file.write_text(yaml.safe_dump(TINY), "utf-8")
    return clone, make_conda(tmp_path / "conda")


@pytest.mark.parametrize("environment", RULES)
def test_conda_builds_an_environment_and_a_rule_runs_in_it(with_conda, environment):
    """By the stand-in: what is shown is that Snakemake builds what the rule names, and runs the rule there."""
    project, conda = with_conda
    target = f"results/{PRESET}/environments/{environment}.json"
    output = project.snakemake(target, *CONDA, before=without_network(), path=conda)
    assert output.count("Creating conda environment") == 1
    (prefix,) = [path for path in (project.root / ".snakemake/conda").iterdir() if path.is_dir()]
    calls = (prefix / "calls.txt").read_text("utf-8").splitlines()
    assert calls[0].startswith("-m pip install --no-index")
    assert calls[-1].startswith("workflow/scripts/record_environment.py")
    assert {path.name.split("-")[0] for path in (prefix / "conda-meta").glob("*.json")} == {"python", "pip"}
    record = json.loads((project.root / target).read_text("utf-8"))
    assert record["environment"] == environment
    assert (
        record["rules"]
        == {"acquire": ["acquire_source"], "detect": ["train_detector", "predict_detector"]}[environment]
    )
    assert {"pandas", "pydantic", "tqdm"} <= record["distributions"].keys()
    is_headless = any(call.startswith("-m pip uninstall --yes opencv-python") for call in calls)
    assert is_headless == (environment == "detect")  # by its script envs/detect.post-deploy.sh
    assert "Nothing to be done" in project.snakemake(target, *CONDA, path=conda)
    assert "Nothing to be done" in project.snakemake(target)


def test_an_environment_with_a_pin_that_is_not_to_be_had_is_not_built(with_conda):
    project, conda = with_conda
    path = project.root / "envs/acquire.yaml"
    path.write_text(path.read_text("utf-8").replace("pandas==", "pandas==999."), "utf-8")
    process = project.start(f"results/{PRESET}/environments/acquire.json", *CONDA, path=conda)
    output, _ = process.communicate(timeout=900)
    assert process.returncode != 0
    assert "Could not create conda environment" in output
    assert "pandas==999." in output


def test_containerize_writes_a_dockerfile_with_every_environment(with_conda):
    project, conda = with_conda
    output = project.snakemake("--containerize", path=conda)
    built = set(re.findall(r"^COPY envs/(\w+)\.yaml /conda-envs/\w+/environment\.yaml$", output, re.MULTILINE))
    assert built == {path.stem for path in (project.root / "envs").glob("*.yaml")}
    assert output.count("conda env create --prefix") == len(built)
    assert re.search(r"^FROM condaforge/miniforge3", output, re.MULTILINE)
