"""What runs again, and what does not: each test makes one change in a finished copy and reads a dry run."""

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import PRESET

from scanline.core import code_digest

pytestmark = pytest.mark.workflow

# The rules in their order, with those right behind each. What a change must rerun is worked out from this table,
# not from the workflow.
FOLLOWERS = {
    "acquire_source": {"curate_source", "merge_sources"},
    "curate_source": {"merge_sources"},
    "merge_sources": {"group_images", "cache_pixels"},
    "group_images": {"split_grouped", "split_naive_image", "verify_split"},
    "split_grouped": {"verify_split"},
    "split_naive_image": {"train_classifier"},
    "verify_split": {"train_classifier"},
    "cache_pixels": {"train_classifier"},
    "train_classifier": {"predict_classifier"},
    "predict_classifier": {"evaluate_classifier"},
    "evaluate_classifier": {"compare_splits", "plot_classifier", "write_overview"},
    "compare_splits": {"plot_study"},
    "plot_classifier": {"write_report"},
    "plot_study": {"write_report"},
    "write_report": set(),
    "write_overview": set(),
}
# A module to the first of the rules whose script reaches it; those rules' followers come along.
REACHED_BY = {
    "core/tables.py": {"curate_source"},
    "core/log.py": set(),
    "core/command_line.py": set(),
    "acquire/phantom.py": set(),
    "config.py": set(),
    "curate/adapters/pascal_voc.py": {"curate_source"},
    "curate/merge.py": {"merge_sources"},
    "split/groups.py": {"group_images"},
    "split/assign.py": {"split_grouped", "split_naive_image", "verify_split"},
    "split/verify.py": {"verify_split", "split_naive_image"},
    "split/naive.py": {"split_naive_image"},
    "prepare/pixels.py": {"cache_pixels"},
    "train/image_level.py": {"train_classifier"},
    "train/engine.py": {"train_classifier"},
    "predict/grad_cam.py": {"predict_classifier"},
    "evaluate/bootstrap.py": {"evaluate_classifier"},
    "evaluate/ranking.py": {"evaluate_classifier"},
    "evaluate/gap.py": {"evaluate_classifier"},
    "evaluate/subgroups.py": {"evaluate_classifier"},
    "evaluate/leakage.py": {"compare_splits"},
    "evaluate/segmentation.py": set(),
    "evaluate/average_precision.py": set(),
    "figures/style.py": {"plot_classifier", "plot_study"},
    "figures/training.py": {"plot_classifier"},
    "figures/study.py": {"plot_study"},
    "report/overview.py": {"write_overview"},
    "report/page.py": {"write_report", "write_overview"},
}
FIGURES = {"plot_classifier", "plot_study", "write_report"}
NOTHING: Counter[str] = Counter()


def and_followers(rules: set[str]) -> set[str]:
    """These rules and all that come after them."""
    found = set(rules)
    while more := {follower for rule in found for follower in FOLLOWERS[rule]} - found:
        found |= more
    return found


def library(project) -> Path:
    return project.root / "workflow/scripts/scanline"


def edit_function(path: Path) -> None:
    """Add a statement to the first function of a module that has more than a docstring."""
    text = path.read_text("utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    statement = next(
        statement
        for function in functions
        for statement in function.body
        if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant)
    )
    lines = text.splitlines(keepends=True)
    lines.insert(statement.lineno - 1, " " * statement.col_offset + "edited = True\n")
    path.write_text("".join(lines), "utf-8")


def reword(path: Path) -> None:
    """Add comments and blank lines to a module, and a sentence to each of its docstrings."""
    text = path.read_text("utf-8")
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            line = node.body[0].lineno - 1
            lines[line] = lines[line].replace('"""', '"""Reworded. ', 1)
    path.write_text("# A remark.\n\n" + "".join(lines) + "\n\n# Another.\n", "utf-8")


def touch(paths) -> None:
    for path in paths:
        os.utime(path)


@pytest.fixture(scope="module")
def all_jobs(finished):
    """The number of jobs of each rule."""
    return finished.planned("--forceall")


@pytest.fixture(scope="module")
def unchanged(finished, tmp_path_factory):
    """A copy of the finished project for changes that the test takes back."""
    folder = tmp_path_factory.mktemp("unchanged")
    subprocess.run(["cp", "--archive", finished.root, folder / "project"], check=True)
    return type(finished)(folder / "project")


def test_a_second_run_has_nothing_to_do(project):
    before = {path: path.stat().st_mtime_ns for path in project.results.rglob("*") if path.is_file()}
    assert "Nothing to be done" in project.snakemake()
    assert before == {path: path.stat().st_mtime_ns for path in project.results.rglob("*") if path.is_file()}


def test_the_table_of_rules_is_complete(all_jobs):
    assert set(all_jobs) == set(FOLLOWERS)
    assert sum(all_jobs.values()) == 28


def test_touched_files_rerun_nothing(project):
    files = [path for path in project.root.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
    touch(sorted(files, key=lambda path: path.stat().st_mtime, reverse=True))  # the last one made is now the oldest
    assert project.planned() == NOTHING


def test_a_touched_table_reruns_nothing(project):
    touch(project.results.rglob("curated/*.parquet"))
    touch(project.results.rglob("prepared/*"))
    assert project.planned() == NOTHING


def test_a_fresh_checkout_reruns_nothing(project, finished):
    made = {"results", "data", ".snakemake"}
    for path in project.root.iterdir():
        if path.name not in made:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in finished.root.iterdir():
        if path.is_dir() and path.name not in made:
            shutil.copytree(path, project.root / path.name, copy_function=shutil.copyfile)
        elif path.is_file():
            shutil.copyfile(path, project.root / path.name)
    assert (project.root / "Snakefile").stat().st_mtime > (finished.results / "report.html").stat().st_mtime
    assert project.planned() == NOTHING


def test_comments_and_docstrings_rerun_nothing(project):
    for path in (project.root / "workflow/scripts").rglob("*.py"):
        reword(path)
    for path in project.root.glob("envs/*.yaml"):
        path.write_text("# A remark.\n" + path.read_text("utf-8"), "utf-8")
    assert project.planned() == NOTHING


@pytest.mark.parametrize("module", REACHED_BY)
def test_an_edited_function_reruns_what_reaches_it_and_what_follows(unchanged, all_jobs, module):
    path = library(unchanged) / module
    original = path.read_text("utf-8")
    edit_function(path)
    planned = unchanged.planned()
    path.write_text(original, "utf-8")
    expected = and_followers(REACHED_BY[module])
    assert set(planned) == expected
    if module not in {"split/naive.py"}:  # that one reaches the models of its own split alone
        assert planned == Counter({rule: all_jobs[rule] for rule in expected})


def test_an_edit_of_the_naive_split_leaves_the_other_models_alone(unchanged):
    path = library(unchanged) / "split/naive.py"
    original = path.read_text("utf-8")
    edit_function(path)
    planned = unchanged.planned()
    path.write_text(original, "utf-8")
    assert planned["split_naive_image"] == planned["train_classifier"] == planned["predict_classifier"] == 1


@pytest.mark.parametrize(
    ("file", "old", "new", "first"),
    [
        ("workflow/scripts/scanline/report/study.html.j2", "<", "<!-- -->\n<", {"write_report", "write_overview"}),
        ("envs/figures.yaml", "matplotlib==", "matplotlib==9.", {"plot_classifier", "plot_study"}),
    ],
)
def test_templates_and_pins_count(unchanged, file, old, new, first):
    path = unchanged.root / file
    original = path.read_text("utf-8")
    assert old in original
    path.write_text(original.replace(old, new, 1), "utf-8")
    planned = unchanged.planned()
    path.write_text(original, "utf-8")
    assert set(planned) == and_followers(first)


def test_a_changed_figure_option_plots_again(project, all_jobs):
    project.set_preset("figures", resolution_dpi=60)
    assert project.planned() == Counter({rule: all_jobs[rule] for rule in FIGURES})


def test_a_new_figure_option_plots_again(project):
    path = library(project) / "figures/options.py"
    path.write_text(
        path.read_text("utf-8") + '    colour: str = Field(default="blue", description="Colour.")\n', "utf-8"
    )
    assert set(project.planned()) == FIGURES


def test_an_evaluation_option_trains_nothing(project, all_jobs):
    project.set_preset("evaluate", bootstrap_resamples=101)
    expected = and_followers({"evaluate_classifier"})
    assert project.planned() == Counter({rule: all_jobs[rule] for rule in expected})


def test_a_training_option_trains_again_and_curates_nothing(project, all_jobs):
    project.set_preset("training", learning_rate=0.002)
    expected = and_followers({"train_classifier"})
    assert not expected & {"curate_source", "merge_sources", "split_grouped", "verify_split", "cache_pixels"}
    assert project.planned() == Counter({rule: all_jobs[rule] for rule in expected})


def test_more_cores_rerun_nothing(project):
    assert project.planned("--cores", "7", "--set-threads", "train_classifier=1") == NOTHING


CONDA = """#!/bin/sh
case "$*" in
  "info --json") echo '{"conda_prefix": "/opt/conda", "platform": "linux-64", "root_prefix": "/opt/conda"}' ;;
  "--version") echo "conda 25.1.0" ;;
  "config --get channel_priority --json") echo '{"get": {"channel_priority": "strict"}}' ;;
  *) echo '{}' ;;
esac
"""


def test_conda_makes_no_difference(project, tmp_path, all_jobs):
    stand_in = tmp_path / "bin/conda"
    stand_in.parent.mkdir()
    stand_in.write_text(CONDA, "utf-8")
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    with_conda = ("--software-deployment-method", "conda")
    assert project.planned(*with_conda, path=stand_in.parent) == NOTHING
    project.set_preset("figures", resolution_dpi=60)
    assert project.planned(*with_conda, path=stand_in.parent) == Counter({rule: all_jobs[rule] for rule in FIGURES})


def test_identical_bytes_from_upstream_rerun_nothing_later(project):
    project.snakemake("--forcerun", "group_images", "--until", "group_images")
    assert project.planned() == NOTHING


LOADED = """
import importlib, os, sys
import matplotlib.pyplot, pandera.pandas, scipy, sklearn.metrics
for name in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(name)
        print(name, *sorted(module for module in sys.modules if module.startswith("scanline")), flush=True)
        os._exit(0)
    os.wait()
"""


def test_the_digests_cover_all_that_the_scripts_load():
    """What Python itself imports for each script stands in what the digest follows, presentation apart."""
    scripts = Path(__file__).parents[2] / "workflow/scripts"
    names = sorted(set(FOLLOWERS) - {"acquire_source"})
    found = subprocess.run(
        [sys.executable, "-c", LOADED, *names], cwd=scripts, capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in found.stdout.splitlines()]
    assert [line[0] for line in lines] == names
    for name, *loaded in lines:
        main = code_digest._read_module(scripts / f"{name}.py", "__main__", "")
        followed = set(code_digest._reached_modules(scripts, main.imports))
        presentation = {"scanline.core.log", "scanline.core.command_line"}
        assert set(loaded) - presentation <= followed, name


def test_a_printed_command_runs_by_itself(project):
    target = f"results/{PRESET}/phe_sich/curated/groups.parquet"
    output = project.snakemake("--dry-run", "--printshellcmds", "--force", target)
    command = re.search(r"^ *Shell command: (python .*)$", output, re.MULTILINE)
    assert command is not None
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(command[1], shell=True, cwd=project.root, env={**os.environ, "PATH": path}, check=True)
    assert project.planned() == NOTHING
