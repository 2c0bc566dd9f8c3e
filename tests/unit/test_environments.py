"""Conda environments: every rule names one, in which is what its script imports, and nothing needless."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

from scanline.core import code_digest
from scanline.core.versions import describe_environment

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = REPOSITORY / "workflow/scripts"
ENVIRONMENTS = sorted(path.stem for path in (REPOSITORY / "envs").glob("*.yaml"))
# What a script picks by name, from a registry.
PICKED = {
    "curate_source": "curate/adapters/*.py",
    "acquire_source": "acquire/**/*.py",
    "train_detector": "train/*_detector.py",
    "predict_detector": "train/*_detector.py",
}
NOT_PICKED = {"scanline.acquire.weights"}  # of the rule acquire_weights
# Pinned though no script imports it: what asks for it, by its own import or by name.
ASKED_FOR_BY = {
    "pyarrow": {"pandas"},  # Parquet
    "numpy": {"pandas"},
    "defusedxml": {"openpyxl"},  # parses with it where it is there
    "timm": {"segmentation-models-pytorch"},  # encoders; run.json tells its version
    "pillow": {"torchvision", "matplotlib"},
    "python-gdcm": {"pydicom"},  # decoders that it finds where they are
    "pylibjpeg": {"pydicom"},
    "pylibjpeg-openjpeg": {"pydicom"},
}

# Prints every rule of the workflow as Snakemake parses it: whether it runs a command, and its environment.
PARSE = """
import json, sys
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import OutputSettings, ResourceSettings

with SnakemakeApi(OutputSettings()) as api:
    rules = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))._workflow.rules
    found = {rule.name: [rule.shellcmd, str(rule.conda_env or ""), rule.basedir.get_path_or_uri(secret_free=True)]
             for rule in rules}
print(json.dumps(found))
"""


@cache
def environment_of_rules():
    """The environment file of each rule that runs a command, targets left out."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    answer = subprocess.run(
        [sys.executable, "-c", PARSE],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    rules = json.loads(answer.stdout.splitlines()[-1])
    assert {"all", "figures", "report"} < {name for name, (command, *_) in rules.items() if command is None}
    return {name: (Path(base) / file) if file else None for name, (command, file, base) in rules.items() if command}


def pins_of(environment):
    dependencies = yaml.safe_load((REPOSITORY / f"envs/{environment}.yaml").read_text("utf-8"))["dependencies"]
    return dict(pin.split("==") for pin in dependencies[-1]["pip"])


def imports_of(script):
    """Top-level names of all that a script imports from elsewhere, directly or by the library's modules, at any time.

    As the code digest follows imports; but what only presents is followed too.
    """
    waiting = list(code_digest._read_module(SCRIPTS / f"{script}.py", "", None).imports)
    for file in (SCRIPTS / "scanline").glob(PICKED.get(script, "no such file")):
        name = ".".join(file.relative_to(SCRIPTS).with_suffix("").parts)
        waiting += [name] if name not in NOT_PICKED else []
    seen, found = set(), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = code_digest._module_file(SCRIPTS, name)
        if file is None:
            found.add(name.split(".")[0])
            continue
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for imported in code_digest._read_module(file, package, None).imports:
            waiting += code_digest._with_packages(imported)
    return found - {"scanline"} - set(sys.stdlib_module_names)


def distributions_of(script):
    """The distributions that hold what a script imports."""
    providers = packages_distributions()
    return {re.sub(r"[-_.]+", "-", providers[name][0]).lower() for name in imports_of(script)}


def scripts_in(environment):
    """The scripts of the rules that run in an environment; the one that records it runs in all."""
    files = {name: file for name, file in environment_of_rules().items() if name != "record_environment"}
    return ["record_environment", *(name for name, file in files.items() if file.stem == environment)]


def test_every_rule_names_its_environment():
    """The rules that run on the machine that submits, too."""
    files = environment_of_rules()
    assert {"acquire_source", "train_classifier", "record_environment", "write_report"} < files.keys()
    for name, file in files.items():
        assert file is not None, name
        environments = ENVIRONMENTS if name == "record_environment" else [file.stem]
        for environment in environments:
            named = Path(str(file).format(environment=environment)).resolve()
            assert named == REPOSITORY / f"envs/{environment}.yaml", name


def test_the_digest_covers_the_environment_that_the_rule_names():
    common = (REPOSITORY / "workflow/rules/common.smk").read_text("utf-8")
    declared = dict(re.findall(r'"(\w+)": "envs/(\w+)\.yaml"', common))
    files = environment_of_rules()
    assert declared == {name: file.stem for name, file in files.items() if name != "record_environment"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_holds_what_its_scripts_import_and_nothing_needless(environment):
    pinned = set(pins_of(environment))
    imported = {script: distributions_of(script) for script in scripts_in(environment)}
    assert len(imported) > 1, "no rule runs in it"
    assert {script: missing for script, needed in imported.items() if (missing := needed - pinned)} == {}
    needed = set().union(*imported.values())
    assert {name for name in pinned - needed if not ASKED_FOR_BY.get(name, set()) & pinned} == set()


def test_the_walk_over_imports_sees_what_is_imported_late_and_by_the_log():
    assert {"ultralytics", "torchvision", "faster_coco_eval", "cv2", "tqdm"} <= imports_of("train_detector")
    assert "matplotlib" not in imports_of("train_detector")


def test_the_record_of_this_environment_tells_what_is_installed():
    record = describe_environment()
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["distributions"]["pandas"] == sys.modules["pandas"].__version__
    assert re.fullmatch("[0-9a-f]{16}", record["digest"])
    for environment in ENVIRONMENTS:
        for name, version in pins_of(environment).items():
            assert record["distributions"][name].split("+")[0] == version
