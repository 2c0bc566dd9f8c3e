"""Volumes and the headline in figures and report, from what evaluation makes of a made cohort."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from boxed_volumes import cohort
from PIL import Image

from scanline.evaluate.detector import evaluate_detector, fit_on_val, fit_volumes_on_val
from scanline.evaluate.detector_options import EvaluateDetectorOptions
from scanline.figures.detector import plot_precision_recall
from scanline.figures.options import RunFigureOptions
from scanline.figures.volumes import plot_volume_froc, plot_volume_roc
from scanline.report.headline import headline_tables
from scanline.report.kinds import KINDS
from scanline.report.models import describe_model
from scanline.report.options import ReportedRun, ReportedYardstick
from scanline.report.volumes import describe_volumes

LOOKS = RunFigureOptions(title="made", phantom=True, resolution_dpi=60)
RUN = ReportedRun(split="grouped", protocol="grouped", task="detect", kind="detect", model="yolo", seed=1)


def evaluated(tables, **options):
    told = EvaluateDetectorOptions(
        **{"targets": ("tear",), "evaluate": {"bootstrap_resamples": 100}, "patient_salt": "salt", **options}
    )
    return evaluate_detector(tables, told, fit_on_val(tables, told), fit_volumes_on_val(tables, told))


@pytest.fixture(scope="module")
def torn():
    return evaluated(cohort(), boxes={"headline": "ap_10"}, volumes={"score": "top_k_mean", "top_k": 2})


@pytest.fixture(scope="module")
def nameless():
    tables = cohort()
    return evaluated(replace(tables, images=tables.images.assign(volume_id=None)))


def ink(path):
    """Share of the picture that is not white."""
    return float((np.asarray(Image.open(path).convert("L")) < 250).mean())


@pytest.mark.parametrize("plot", [plot_volume_roc, plot_volume_froc])
def test_curves_are_drawn_and_where_there_are_no_volumes_a_sentence(plot, torn, nameless, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("scanline.figures.volumes.say", lambda axes, text: written.append(text))
    plot(torn.curves, torn.metrics, LOOKS, tmp_path / "torn.png")
    assert not written
    plot(nameless.curves, nameless.metrics, LOOKS, tmp_path / "nameless.png")
    assert written == ["There are no volumes: no image names its volume."]
    assert ink(tmp_path / "torn.png") > ink(tmp_path / "nameless.png")


def test_the_curve_of_the_headline_is_drawn_first(torn, nameless, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("scanline.figures.detector._draw_precision_recall", lambda *words: drawn.append(words[3]))
    for result in (torn, nameless):
        plot_precision_recall(result.curves, result.metrics, LOOKS, tmp_path / "curve.png")
    assert drawn == ["ap_10", "ap_50", "ap_50", "ap_75"]


def test_the_first_table_begins_with_the_headline_and_ends_with_volumes(torn, nameless):
    (table,) = headline_tables([RUN], [torn.metrics], [], {"grouped": True})
    assert table.heads[:3] == ("AP at IoU 0.1", "AP at IoU 0.5", "AP at IoU 0.5 to 0.95")
    assert table.heads[-3:] == (
        "AUROC of volumes",
        "Volume sensitivity (threshold: specificity 0.900 on val)",
        "Volume specificity",
    )
    level = torn.metrics["subsets"]["test"]["volume_level"]["any_class"]["metrics"]
    assert table.rows[0].cells[-3:] == (level["auroc"], level["recall"], level["specificity"])
    assert table.rows[0].cells[0] == torn.metrics["subsets"]["test"]["metrics"]["ap_10"]
    without = copy.deepcopy(torn.metrics)
    without["subsets"]["test"]["volume_level"]["any_class"]["metrics"]["auroc"]["value"] = None
    (fewer,) = headline_tables([RUN], [without], [], {"grouped": True})
    assert fewer.heads == table.heads[:-3]
    (plain,) = headline_tables([RUN], [nameless.metrics], [], {"grouped": True})
    assert plain.heads == tuple(title for title, _ in KINDS["detect"].headline.values())


def test_models_of_other_headlines_share_one_table(torn, nameless):
    told = {"source": "Their paper.", "task": "detect", "kind": "detect", "metrics": {"ap_10": 0.9}}
    yardstick = ReportedYardstick(name="them", split="grouped", **told)
    other = RUN.model_copy(update={"seed": 2})
    (table,) = headline_tables([RUN, other], [torn.metrics, nameless.metrics], [yardstick], {"grouped": True})
    assert table.heads[0] == "AP at IoU 0.5"
    assert [row.kind for row in table.rows] == ["ours", "ours", "spread", "theirs"]
    assert {len(row.cells) for row in table.rows} == {len(table.heads)}
    assert table.rows[1].cells[-1] is None
    assert table.rows[2].cells[-1].range.endswith("(1 of 2 seeds)")
    assert table.rows[3].cells[table.heads.index("AP at IoU 0.1")].value == "0.90"


def test_a_model_tells_its_volumes_in_a_table_of_its_own(torn, nameless, tmp_path):
    picture = tmp_path / "one.png"
    Image.new("L", (8, 8)).save(picture)
    figures = dict.fromkeys(KINDS["detect"].figures, picture)
    facts = {"ultralytics_notes": {"box": "YOLOv5's 0.05 taken as 7.5"}}
    model = describe_model(RUN, torn.metrics, facts, figures, leak_free=True)
    assert model["tables"][0].rows[0].name == "AP at IoU 0.1"
    (table,) = [one for one in model["tables"] if "told by the mean of its 2 best slices" in one.caption]
    rows = {row.name: row.cells for row in table.rows}
    level = torn.metrics["subsets"]["test"]["volume_level"]["any_class"]
    assert rows["AUROC of volumes"][1] == level["metrics"]["auroc"]
    assert rows["Boxes found at 1 false positive a volume"][1] == level["froc"]["box_sensitivity_at_1"]
    assert f"{level['positives']} positive" in table.caption
    assert "Intervals over patients." in table.caption
    assert ("Options of the trainer", "box: YOLOv5's 0.05 taken as 7.5") in model["facts"]
    bare = describe_model(RUN, nameless.metrics, {}, figures, leak_free=True)
    assert not any("volume" in one.caption for one in bare["tables"])
    assert not any(name == "Options of the trainer" for name, _ in bare["facts"])
    assert describe_volumes(nameless.metrics) == ""


def test_volumes_without_patients_are_said_to_be_the_clusters():
    tables = cohort()
    result = evaluated(replace(tables, images=tables.images.assign(patient_id=None)))
    assert "Intervals over volumes, as no patient is known." in describe_volumes(result.metrics)
