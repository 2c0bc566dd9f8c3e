import hashlib
import json
import sys

import pandas as pd
import pytest
from sample_results import SPLITS, make_comparison, make_receipt, make_study

import plot_study
from scanline.core.errors import InputError
from scanline.core.files import read_json
from scanline.figures.leakage import pair_rows, plot_leakage
from scanline.figures.options import StudyFigureOptions
from scanline.figures.study import KINDS, count_flow, main_split, plot_flow, whole_prevalence

OPTIONS = StudyFigureOptions(splits=SPLITS, phantom=False, resolution_dpi=60)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.mark.parametrize("compared", [True, False])
def test_the_script_draws_four_figures_with_the_same_bytes_each_time(study, tmp_path, monkeypatch, compared):
    outputs = ("flow-figure", "balance", "subsets", "leakage-figure")
    digests = []
    for turn in ("first", "second"):
        words = ["--comparison", *([str(study["comparison"])] if compared else [])]
        for name in ("flow", "images", "labels"):
            words += [f"--{name}", str(study[name])]
        words += ["--receipts", *(str(study[f"receipt_{split}"]) for split in SPLITS)]
        for name in outputs:
            words += [f"--{name}", str(tmp_path / turn / f"{name}.png")]
        options = json.dumps({"splits": SPLITS, "phantom": True, "resolution_dpi": 60})
        monkeypatch.setattr(sys, "argv", ["plot_study.py", "--options", options, *words])
        plot_study.main()
        files = [(tmp_path / turn / f"{name}.png").read_bytes() for name in outputs]
        digests.append([hashlib.sha256(content).hexdigest() for content in files])
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == len(outputs)


def test_the_flow_adds_up_and_says_what_is_in_no_subset(study):
    flow = read_json(study["flow"])
    counted = count_flow(flow, 250, make_receipt("grouped", 240))
    assert counted.files("source_a") == flow["sources"]["source_a"]["files"]
    assert sum(counted.kind(kind) for kind in KINDS) == counted.files("source_a")
    assert counted.subsets == {"train": 168, "val": 36, "test": 36, "not in the split": 10}
    assert "not in the split" not in count_flow(flow, 240, make_receipt("grouped", 240)).subsets


def test_a_flow_that_does_not_add_up_is_refused(study):
    flow = read_json(study["flow"])
    flow["sources"]["source_a"]["files"] += 1
    with pytest.raises(InputError, match="source_a: found 715 files of known fate; expected 716"):
        count_flow(flow, 240, make_receipt("grouped", 240))


def test_several_sources_and_nothing_refused_are_drawn(tmp_path):
    source = dict.fromkeys(KINDS, 0) | {"files": 20, "images": 20}
    flow = {"sources": {"one": source, "two": {**source, "files": 24, "masks": 4}}}
    plot_flow(count_flow(flow, 40, make_receipt("grouped", 40)), "grouped", OPTIONS, tmp_path / "flow.png")
    assert (tmp_path / "flow.png").stat().st_size > 1000


def test_the_leak_free_split_stands_for_the_study():
    naive, grouped = make_receipt("naive_image", 100), make_receipt("grouped", 100)
    assert main_split([naive, grouped]) == 1
    assert main_split([naive]) == 0


def test_whole_prevalence_counts_one_split_and_leaves_out_unknown():
    receipt = make_receipt("grouped", 240)
    rows = [("grouped", name, facts) for name, facts in receipt["subsets"].items()]
    labels = [facts["labels"]["perihaematomal_oedema"] for _, _, facts in rows]
    expected = sum(x["positive"] for x in labels) / sum(x["positive"] + x["negative"] for x in labels)
    assert whole_prevalence(rows, "perihaematomal_oedema") == pytest.approx(expected)
    assert whole_prevalence([], "haemorrhage") is None


def test_only_runs_that_differ_in_the_split_alone_are_paired(tmp_path):
    pairs = pair_rows(make_comparison())
    assert [(sides["from"]["split"], sides["to"]["split"]) for _, sides in pairs] == [("grouped", "naive_image")]
    assert pairs[0][1]["from"]["task"] == pairs[0][1]["to"]["task"] == "classify"
    plot_leakage(None, OPTIONS, tmp_path / "none.png")
    comparison = make_comparison()
    comparison["rows"][0]["metrics"]["f1"] = {"value": None, "low": None, "high": None}
    plot_leakage(comparison, OPTIONS, tmp_path / "undefined.png")
    assert pd.notna((tmp_path / "none.png").stat().st_size)
