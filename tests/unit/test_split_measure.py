"""What measure_split tells of splits made by hand and by others; and docs/split.md."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.core.errors import InputError
from scanline.split import measure_split

REPOSITORY = Path(__file__).parents[2]
HALVES = {"one": 0.5, "two": 0.5}


def test_the_page_on_splitting_runs():
    result = doctest.testfile(str(REPOSITORY / "docs/split.md"), module_relative=False)
    assert result.attempted > 20
    assert result.failed == 0


def test_the_documented_example_runs():
    result = doctest.testmod(importlib.import_module("scanline.split.measure"))
    assert result.attempted > 4
    assert result.failed == 0


def test_a_split_by_hand():
    table = pd.DataFrame({"patient": [1, 1, 2, 3, 4], "bleed": [True, None, True, False, False]}, index=list("abcde"))
    subset = pd.Series(["one", "one", "two", "two", "away"], index=table.index)
    found = measure_split(table, subset, group="patient", ratios=HALVES, labels=["bleed"])
    assert found["parted_groups"] == 0
    assert list(found["subsets"]) == ["one", "two", "away"]
    assert found["subsets"]["one"] == {
        "images": 2,
        "groups": 1,
        "share": 0.5,
        "target_share": 0.5,
        "labels": {"bleed": {"positive": 1, "negative": 0, "unknown": 1, "prevalence": 1.0}},
    }
    assert found["subsets"]["away"]["share"] is None
    assert found["objective"]["images"] == {"mean": pytest.approx(1 / 3), "worst": 1.0, "worst_column": "not bleed"}
    # images and positives as they should be; the one negative is 0.5 off in both: twice 1. Groups: 3 of them, 1 and 2
    # instead of 1.5 each; their positives 1 and 1; their negative 0.5 off in both; and a subset without a negative.
    assert found["objective"]["cost"] == pytest.approx(2 + 0.3 * (2 / 9 + 0 + 2) + 1e3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_parted_groups_are_counted(seed):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"patient": rng.integers(0, 12, 40).astype(str)})
    subset = pd.Series(rng.choice(["one", "two"], 40))
    expected = {name for name in table["patient"] if subset[table["patient"] == name].nunique() > 1}
    found = measure_split(table, subset, group="patient", ratios=HALVES)
    assert found["parted_groups"] == len(expected)
    assert found["first_parted"] == sorted(expected)[:3]
    assert (found["objective"] is None) == bool(expected)


def test_bad_subsets_get_one_line():
    table = pd.DataFrame({"patient": [1, 2]})
    with pytest.raises(InputError, match="subset: found 1 nulls"):
        measure_split(table, pd.Series(["one", None]), group="patient", ratios=HALVES)
    with pytest.raises(InputError, match="subset: found another index"):
        measure_split(table, pd.Series(["one", "two"], index=[1, 2]), group="patient", ratios=HALVES)
    with pytest.raises(InputError, match="table: patient: found 1 rows without a group"):
        measure_split(table.assign(patient=[1, None]), pd.Series(["one", "two"]), group="patient", ratios=HALVES)
