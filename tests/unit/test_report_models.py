"""Models of each kind in a report: every number is read from its file, and undefined ones say why."""

import base64

import numpy as np
import pandas as pd
import pytest

from scanline.evaluate.binary import evaluate_binary
from scanline.evaluate.detection import evaluate_detection
from scanline.evaluate.multilabel import evaluate_multilabel
from scanline.evaluate.none_of_labels import evaluate_none_of_labels
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.segmentation import evaluate_segmentation
from scanline.evaluate.segmentation_cases import MaskPair, measure_cases
from scanline.report.headline import headline_tables
from scanline.report.kinds import KINDS, look_up
from scanline.report.models import describe_model
from scanline.report.options import ReportedRun, ReportedYardstick
from scanline.report.page import render, template_environment
from scanline.report.words import explain_threshold, name_threshold

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FEW = EvaluateOptions(bootstrap_resamples=100)
FACTS = {"best_epoch": 3, "epochs": 8, "versions": {"torch": "2.13.0"}}


def detected():
    sides = {"x": 10, "y": 10, "width": 20, "height": 20}
    truth = pd.DataFrame({"image_id": ["a", "b"], "label": "bleed", **sides})
    predicted = truth.assign(x=[11, 40], score=[0.9, 0.6])
    images = pd.DataFrame({"image_id": list("abcd"), "patient_id": list("ppqq")})
    found = evaluate_detection(truth, predicted, images, ["bleed"], score_threshold=0.5, options=FEW).metrics
    told = evaluate_binary([True, True, False, False], [0.9, 0.6, 0, 0], threshold=0.5, options=FEW)
    return {**found, "yes_or_no": {"image": {"any_class": told}}}


def segmented():
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    pairs = [
        MaskPair(f"i{k}", np.roll(mask, k, 0), mask if k < 6 else mask & False, patient_id=f"p{k // 2}")
        for k in range(8)
    ]
    pairs.append(MaskPair("unknown", mask, None, patient_id="p9"))
    cases = measure_cases(pairs)
    return evaluate_segmentation(cases.images, cases.volumes, FEW)


def labelled():
    generator = np.random.default_rng(0)
    truth = pd.DataFrame({"bleed": generator.random(40) < 0.4, "oedema": generator.random(40) < 0.5}).astype("boolean")
    truth.loc[3, "oedema"] = pd.NA
    probabilities = pd.DataFrame(generator.random((40, 2)), columns=["bleed", "oedema"])
    return evaluate_multilabel(truth, probabilities, patients=np.repeat(np.arange(10), 4), options=FEW)


MAKE = {"detect": detected, "segment": segmented, "multilabel": labelled}


def metrics_of(kind):
    subset = MAKE[kind]()
    interval = {"level": 0.95, "resamples": 100, "clustered_by": "patient_id", "method": "percentile"}
    estimate = {"value": 0.4, "low": 0.3, "high": 0.5, "reason": None}
    keys = {
        "multilabel": ("bleed.auroc", "bleed.recall", "oedema.auroc"),
        "detect": ("ap_50", "sensitivity", "false_positives_per_image"),
        "segment": ("dice", "pooled_dice", "sensitivity", "patient_dice_median"),
    }[kind]
    group = {"images": 7, "patients": 3, "positives": 2, "warning": "few", "metrics": dict.fromkeys(keys, estimate)}
    return {
        "threshold": 0.5,
        "threshold_rule": "f1",
        "interval": interval,
        "subsets": {"val": subset, "test": subset, "external": subset},
        "subgroups": {"test": [{"by": "sex", "groups": [{**group, "name": "F"}, {**group, "name": "M"}]}]},
        "gap": dict.fromkeys((*keys, "macro.f1", "exact_match") if kind == "multilabel" else keys, estimate),
    }


def run_of(kind, seed=1):
    return ReportedRun(split="grouped", protocol="grouped", task=f"{kind}_it", kind=kind, model="net", seed=seed)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(PNG)
    return path


@pytest.mark.parametrize("kind", MAKE)
def test_every_metric_of_the_headline_is_in_the_file(kind):
    test = MAKE[kind]()
    for name, (_, place) in KINDS[kind].headline.items():
        estimate = look_up(test, place)
        assert estimate is not None, name
        assert {"value", "low", "high", "reason"} <= set(estimate), name


@pytest.mark.parametrize("kind", MAKE)
def test_a_model_is_described_with_tables_and_all_its_figures(kind, picture):
    figures = dict.fromkeys(KINDS[kind].figures, picture)
    model = describe_model(run_of(kind), metrics_of(kind), FACTS, figures, leak_free=True)
    assert len(model["figures"]) == len(figures) - 1
    assert model["examples"] is not None
    for table in model["tables"]:
        assert table.rows, table.caption
        for row in table.rows:
            assert len(row.cells) == len(table.heads) - 1, (table.caption, row.name)
    page = "{% from 'macros.html.j2' import model_table %}{% for table in tables %}{{ model_table(table) }}{% endfor %}"
    text = template_environment().from_string(page).render(tables=model["tables"])
    assert "undefined" in text or kind != "detect"


@pytest.mark.parametrize(
    ("kind", "subgroups", "gap"),
    [
        (
            "multilabel",
            ["AUROC, bleed", "AUROC, oedema"],
            ["Sensitivity (recall), bleed", "F1, macro mean", "Exact match"],
        ),
        ("detect", ["AP at IoU 0.5", "Boxes found", "False detections an image"], ["AP at IoU 0.5"]),
        ("segment", ["Mean Dice", "Pooled Dice", "Sensitivity"], ["Median Dice of patients"]),
    ],
)
def test_every_kind_shows_subgroups_and_the_gap(kind, subgroups, gap, picture):
    figures = dict.fromkeys(KINDS[kind].figures, picture)
    tables = describe_model(run_of(kind), metrics_of(kind), FACTS, figures, leak_free=True)["tables"]
    (external,) = [table for table in tables if table.caption.startswith("Test against external")]
    names = {row.name: row.cells for row in external.rows}
    assert set(gap) <= set(names)
    assert all(cells[0] is not None and cells[1] is not None and cells[2].value == "+0.400" for cells in names.values())
    (groups,) = [table for table in tables if table.caption == "Subgroups of test by sex."]
    assert list(groups.heads[4:]) == subgroups
    assert [(row.name, row.cells[:3], row.note) for row in groups.rows] == [(name, (7, 3, 2), "few") for name in "FM"]


def test_the_numbers_are_those_of_the_file(picture):
    metrics = metrics_of("segment")
    metrics["subsets"]["test"]["pooled"]["metrics"]["dice"]["value"] = 0.12345
    figures = dict.fromkeys(KINDS["segment"].figures, picture)
    model = describe_model(run_of("segment"), metrics, FACTS, figures, leak_free=True)
    (row,) = [row for row in model["tables"][0].rows if row.name == "Dice, all pixels together"]
    assert row.cells[1]["value"] == 0.12345
    assert "6 with lesion, 2 without, 1 of unknown mask left out" in model["words"]
    assert "8 images of" in model["words"]


def test_kinds_have_tables_of_their_own_with_spread_and_yardsticks():
    runs = [run_of("segment"), run_of("detect", 1), run_of("detect", 2)]
    metrics = [metrics_of(run.kind) for run in runs]
    told = {"source": "Their paper.", "task": "t", "kind": "detect"}
    yardstick = ReportedYardstick(name="them", split="grouped", metrics={"ap_50": 0.99}, **told)
    tables = headline_tables(runs, metrics, [yardstick], {"grouped": True})
    assert [table.title for table in tables] == [KINDS["segment"].title, "Detection"]
    # each model on test and on external
    assert [row.kind for row in tables[1].rows] == ["ours"] * 4 + ["spread"] * 2 + ["theirs"]
    assert [row.detail.split(":")[0] for row in tables[1].rows[4:6]] == ["split grouped", "external set"]
    assert tables[1].rows[-1].cells[0].value == "0.99"
    assert tables[0].heads[0] == "Mean Dice"


def test_a_yardstick_says_who_reported_it_and_on_which_data():
    told = {"source": "Their paper.", "task": "segment", "kind": "segment"}
    metrics = {"pooled_dice": 0.394, "specificity": 0.9995}
    ours = ReportedYardstick(name="the author", split="naive_image", metrics=metrics, **told)
    other = ReportedYardstick(name="nnU-Net", data_set="the trial", metrics={"patient_dice_median": 0.66}, **told)
    (table,) = headline_tables(
        [run_of("segment")], [metrics_of("segment")], [ours, other], {"naive_image": False, "grouped": True}
    )
    author, network = table.rows[2:]
    pairs = zip(author.cells, network.cells, strict=True)
    cells = dict(zip(KINDS["segment"].headline, pairs, strict=True))
    assert cells["specificity"][0].value == "0.9995"  # rounded it would be 1.000
    assert (cells["pooled_dice"][0].value, cells["pooled_dice"][0].range) == ("0.394", "as reported")
    assert cells["patient_dice_median"][1].value == "0.66"
    assert cells["dice"][0].value == cells["pooled_dice"][1].value == "not reported"
    assert author.detail == "reported by others, on a split like naive_image; task segment; source: Their paper."
    assert author.leak_free is False
    assert "on another data set, the trial: not measured on the images of this study" in network.detail
    assert network.leak_free is None


def test_figures_on_another_split_or_subset_are_marked_so():
    told = {"source": "A paper.", "task": "t", "kind": "multilabel", "metrics": {"auroc": 0.841}}
    other = ReportedYardstick(name="CheXNet", other_split="one of their own", **told)
    outside = ReportedYardstick(name="them", split="grouped", subset="external", **told)
    run = run_of("multilabel")
    metrics = metrics_of("multilabel")
    (table,) = headline_tables([run], [metrics], [other, outside], {"grouped": True})
    assert [row.kind for row in table.rows] == ["ours", "ours", "theirs", "theirs"]
    assert "external set, seed" in table.rows[1].detail
    chexnet, them = table.rows[2:]
    assert "another split of these images, one of their own: not to be compared" in chexnet.detail
    assert chexnet.leak_free is None
    assert "on external of a split like grouped" in them.detail


def test_what_several_labels_add_is_told_no_finding_and_the_pointing_game(picture):
    metrics = metrics_of("multilabel")
    estimate = {"value": 0.625, "low": 0.3, "high": 0.9, "reason": None}
    chance = {**estimate, "value": 0.21}
    names = ("pointing_game", "pointing_chance", "mass_inside", "lesion_share")
    boxed = {"measured": 8, "metrics": dict(zip(names, (estimate, chance, estimate, chance), strict=True))}
    metrics["localization"] = {"val": None, "test": {"bleed": boxed, "oedema": None}}
    none = evaluate_none_of_labels([[0, 0], [1, 0]], [[0.1, 0.1], [0.9, 0.1]], {"bleed": 0.5, "oedema": 0.5})
    metrics["subsets"]["test"] = {**metrics["subsets"]["test"], "none_of_labels": none}
    figures = dict.fromkeys(KINDS["multilabel"].figures, picture)
    tables = describe_model(run_of("multilabel"), metrics, FACTS, figures, leak_free=True)["tables"]
    (pointing,) = [table for table in tables if table.caption.startswith("Grad-CAM against the boxes")]
    assert [row.name for row in pointing.rows] == ["bleed"]
    assert pointing.rows[0].cells[0] == 8
    assert [cell["value"] for cell in pointing.rows[0].cells[1:3]] == [0.625, 0.21]
    (derived,) = [table for table in tables if table.caption.startswith("No finding, derived")]
    assert "Of 2 test images 1 are" in derived.caption
    assert derived.rows[0].name == "Accuracy"


def test_a_place_that_a_file_lacks_is_none():
    assert look_up({"a": {"b": {"value": 1}}}, ("a", "b")) == {"value": 1}
    assert look_up({"a": {"b": 3}}, ("a", "b")) is None
    assert look_up({"a": None}, ("a", "b")) is None


def test_the_overview_shows_each_kind():
    text = render("overview.html.j2", {"studies": [], "n_models": 0})
    assert "All studies" in text


def test_thresholds_of_every_kind_are_told():
    several = {"thresholds": {"bleed": 0.25, "oedema": 0.5}, "threshold_rule": "f1", "threshold_from": "val"}
    assert name_threshold(several) == "bleed 0.250, oedema 0.500"
    assert "highest F1 on val" in explain_threshold(several, ["a model: 0.25"])
    mask = {"threshold": 0.5, "threshold_rule": "dice", "threshold_from": "val"}
    assert "highest Dice of all pixels on val" in explain_threshold(mask, ["a model: 0.5"])
    scaled = {**several, "temperatures": {"bleed": 1.4, "oedema": None}}
    assert "divided by a temperature" in explain_threshold(scaled, [])
