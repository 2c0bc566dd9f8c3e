"""The reference of scanline.evaluate: fresh, complete, readable."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from scanline import reference
from scanline.evaluate.binary import BinaryMetrics, Confusion, evaluate_binary
from scanline.evaluate.bootstrap import Estimate

REPOSITORY = Path(__file__).parents[2]
STUDY_MODULES = {  # what only the pipeline calls
    "activation_maps",
    "answers",
    "classifier",
    "detector",
    "detector_options",
    "detector_point",
    "detector_subgroups",
    "frozen_rules",
    "leakage",
    "metadata",
    "class_temperature",
    "multiclass_classifier",
    "multiclass_options",
    "multilabel_classifier",
    "multilabel_options",
    "scores",
    "segmenter",
    "segmenter_options",
    "segmenter_subgroups",
    "study_options",
    "task_comparison",
    "task_comparison_options",
}
INNER_MODULES = {"classes", "coco_matching", "coco_reference", "detection_tables", "masks"}


@pytest.fixture(scope="module")
def page():
    return reference.write_reference()


def test_the_page_is_fresh(page):
    assert (REPOSITORY / "docs/evaluate.md").read_text("utf-8") == page, "run: make docs"


def test_every_module_is_on_the_page_or_left_out_on_purpose():
    files = {path.stem for path in (REPOSITORY / "workflow/scripts/scanline/evaluate").glob("*.py")} - {"__init__"}
    assert files == set(reference.MODULES) | STUDY_MODULES | INNER_MODULES


def test_docstrings_become_markdown():
    text = reference.describe(
        """Count things.

        More words.

        Args:
            first: What comes
                first.
            **others: The rest.

        Examples:
            >>> 1 + 1
            2
        """.replace("\n        ", "\n")
    )
    assert text.startswith("Count things.\n\nMore words.\n")
    assert "**Args**\n\n* `first`: What comes first.\n* `**others`: The rest.\n" in text
    assert "**Examples**\n\n```python\n>>> 1 + 1\n2\n```\n" in text


def test_signatures_are_spelled_as_in_the_source(page):
    assert "options: EvaluateOptions | None = None" in reference.signature("evaluate_binary", evaluate_binary)
    assert "    clusters: Codes | None = None,\n" in reference.signature("BinaryMetrics", BinaryMetrics)
    assert reference.signature("Estimate", Estimate).startswith("Estimate(\n    value: float | None,\n")
    assert reference.signature("Confusion.of_negatives", Confusion.of_negatives).startswith("Confusion.of_negatives()")
    assert "numpy.ndarray" not in page


@pytest.mark.parametrize("name", ["scanline.evaluate", *(f"scanline.evaluate.{name}" for name in reference.MODULES)])
def test_every_example_gives_what_it_shows(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.REPORT_NDIFF)
    assert result.failed == 0


@pytest.mark.parametrize("module", reference.MODULES)
def test_every_module_shows_an_example_or_is_data(module, page):
    part = page.split(f"\n## {module}\n")[1].split("\n## ")[0]
    assert ">>>" in part or module == "options"


def test_evaluate_stands_alone():
    code = (
        "import sys\n"
        + "".join(f"import scanline.evaluate.{name}\n" for name in (*reference.MODULES, *sorted(STUDY_MODULES)))
        + "found = {'torch', 'snakemake', 'sklearn', 'pycocotools', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(', '.join(found) or 0)"
    )
    scripts = REPOSITORY / "workflow/scripts"
    done = subprocess.run([sys.executable, "-c", code], cwd=scripts, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
