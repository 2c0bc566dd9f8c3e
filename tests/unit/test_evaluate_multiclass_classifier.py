"""Evaluation, figures and report of one classifier of several classes."""

import json

import numpy as np
import pandas as pd
import pytest
from multiclass_files import CLASSES, make_class_files, make_class_scores
from multilabel_files import call_script
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

import evaluate_multiclass
import plot_multiclass
from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.evaluate.class_temperature import check_class_point, fit_class_point, read_class_point
from scanline.evaluate.frozen_rules import read_rules
from scanline.evaluate.multiclass_classifier import check_multiclass_scores, confused_pairs
from scanline.evaluate.scores import join_groups, join_patients
from scanline.figures.multiclass_examples import choose_class_examples
from scanline.predict.activation_maps import write_maps
from scanline.report.kinds import KINDS
from scanline.report.models import describe_model
from scanline.report.options import ReportedRun

LOOKS = {"title": "a run", "phantom": True, "resolution_dpi": 60}
PROBABILITIES = [f"probability_{name}" for name in CLASSES]


def make_run(folder, *, external=8, patients_known=True, **scoring):
    """The inputs and outputs of evaluation, by name."""
    files = make_class_files(folder / "data", patients=40, external=external)
    if not patients_known:
        images = pd.read_parquet(files["images"])
        images.loc[images.index % 3 == 0, "patient_id"] = None
        images.to_parquet(files["images"])
        split = pd.read_parquet(files["split"])
        split["group_id"] = [f"g{number // 8}" for number in range(len(split))]
        split.to_parquet(files["split"])
    scores = make_class_scores(files)
    scores.to_parquet(folder / "scores.parquet")
    maps = np.zeros((len(scores), len(CLASSES), 4, 4), np.float16)
    maps[:, 1, 0, 1] = maps[:, 0, 3, 3] = maps[:, 2, 3, 3] = 1
    write_maps(scores["image_id"].tolist(), maps, CLASSES, folder / "cams.npz")
    outputs = {name: folder / f"{name}.json" for name in ("metrics", "operating_point")}
    outputs |= {name: folder / f"{name}.parquet" for name in ("per_image", "curves")}
    outputs["per_image_csv"] = folder / "per_image.csv"
    options = {"targets": CLASSES, "patient_salt": "salt", "evaluate": {"bootstrap_resamples": 100, **scoring}}
    tables = {name: files[name] for name in ("images", "boxes")} | {"cams": folder / "cams.npz"}
    inputs = {"scores": folder / "scores.parquet", "split": files["split"], **tables}
    with pytest.MonkeyPatch.context() as patch:
        call_script(patch, evaluate_multiclass, options, **inputs, **outputs)
    return inputs | outputs | {name: files[name] for name in ("pixels", "index")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


def test_metrics_are_scikit_learns_on_each_subset(run):
    metrics, scores = json.loads(run["metrics"].read_text()), pd.read_parquet(run["scores"])
    for subset in ("val", "test", "external"):
        rows, found = scores[scores["subset"] == subset], metrics["subsets"][subset]
        predicted = np.array(CLASSES)[rows[PROBABILITIES].to_numpy().argmax(axis=1)]
        assert found["metrics"]["accuracy"]["value"] == pytest.approx(accuracy_score(rows["truth"], predicted))
        macro = f1_score(rows["truth"], predicted, labels=CLASSES, average="macro")
        assert found["averages"]["macro"]["f1"]["value"] == pytest.approx(macro)
        assert found["confusion"] == confusion_matrix(rows["truth"], predicted, labels=CLASSES).tolist()
        assert found["images"] == len(rows)
        assert found["patients"] == found["clusters"] > 0
    gap = metrics["gap"]["macro.f1"]
    sides = [metrics["subsets"][name]["averages"]["macro"]["f1"]["value"] for name in ("test", "external")]
    assert gap["value"] == pytest.approx(sides[0] - sides[1])
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert metrics["interval"]["clustered_by"] == "patient_id"
    pointing = metrics["localization"]["test"]
    assert pointing["metrics"]["pointing_game"]["value"] == 1  # the map of the true class has its maximum in the box
    per_image = pd.read_parquet(run["per_image"])
    assert not per_image["patient"].str.startswith("patient ").any()
    assert (per_image["correct"] == (per_image["truth"] == per_image["predicted"])).all()


def test_where_patients_are_unknown_groups_are_drawn(tmp_path):
    run = make_run(tmp_path, external=0, patients_known=False)
    metrics = json.loads(run["metrics"].read_text())
    test, split = metrics["subsets"]["test"], pd.read_parquet(run["split"])
    scores = pd.read_parquet(run["scores"])
    rows = scores[scores["subset"] == "test"].merge(split[["image_id", "group_id"]])
    assert metrics["interval"]["clustered_by"] == "group"
    assert test["clusters"] == rows["group_id"].nunique() < test["images"]
    assert 0 < test["images_without_patient"] < test["images"]
    assert metrics["gap"] is None


def test_an_image_outside_the_split_is_refused(tmp_path):
    images = pd.DataFrame({"image_id": ["a", "b"], "patient_id": ["p", None]})
    images = join_groups(images, pd.DataFrame({"image_id": ["a"], "group_id": ["g"]}))
    scores = pd.DataFrame({"image_id": ["a", "b"], "subset": "test"})
    with pytest.raises(InputError, match="image b: group_id: found null; expected the group of an image of the split"):
        join_patients(scores, images, "scores")


def test_the_temperature_is_fitted_on_val_alone_and_lowers_its_log_loss(tmp_path, run):
    scaled = make_run(tmp_path, temperature_scaling=True)
    before, after = (json.loads(one["metrics"].read_text()) for one in (run, scaled))
    point = read_class_point(scaled["operating_point"])
    assert point.temperature == after["temperature"] != 1
    assert before["temperature"] is None
    losses = [values["subsets"]["val"]["metrics"]["log_loss"]["value"] for values in (before, after)]
    assert losses[1] < losses[0]
    accuracies = [values["subsets"]["test"]["metrics"]["accuracy"]["value"] for values in (before, after)]
    assert accuracies[0] == accuracies[1]
    scores = pd.read_parquet(scaled["scores"])
    val = scores[scores["subset"] == "val"]
    logits = np.log(val[PROBABILITIES].to_numpy())
    near = [_log_loss(val["truth"], logits / (point.temperature * factor)) for factor in (0.98, 1.0, 1.02)]
    assert near[1] == min(near)
    test = scores[scores["subset"] == "test"]
    with pytest.raises(InputError, match="class_scores_sha256"):
        check_class_point(
            point, CLASSES, test["image_id"].tolist(), test["truth"].tolist(), test[PROBABILITIES].to_numpy()
        )
    with pytest.raises(InputError, match="operating point: classes"):
        check_class_point(point, CLASSES[:2], [], [], np.empty((0, 2)))


def _log_loss(truth, logits):
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    order = np.argsort(CLASSES)
    return log_loss(truth, probability[:, order], labels=np.array(CLASSES)[order])


def test_without_temperature_nothing_is_fitted():
    point = fit_class_point(CLASSES, [], [], np.empty((0, 3)), temperature_scaling=False)
    assert (point.temperature, point.subset, point.class_scores_sha256) == (None, None, None)
    given = np.array([[0.2, 0.3, 0.5]])
    assert point.calibrate(given) is given


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="truth"), "columns: found .*; expected truth as well"),
        (lambda t: t.assign(truth="other"), "truth: found other"),
        (lambda t: t.assign(subset="train"), "subset: found train"),
        (lambda t: t.assign(image_id="x"), "image_id: found x"),
        (lambda t: t.assign(probability_normal=0.9), "sum: row 0: found"),
        (lambda t: t.assign(probability_normal=np.nan), "a number from 0 to 1"),
        (lambda t: t[t["subset"] == "val"], "subset test: found no images"),
    ],
)
def test_scores_that_do_not_fit_are_one_line(run, change, message):
    scores = pd.read_parquet(run["scores"])
    with pytest.raises(InputError, match=message):
        check_multiclass_scores(change(scores), CLASSES, "scores")


def test_confused_pairs_count_both_ways_most_first():
    pairs = confused_pairs(np.array([[5, 1, 0], [3, 4, 0], [1, 0, 9]]), CLASSES)
    assert [(pair["classes"], pair["images"]) for pair in pairs] == [
        (["normal", "epidural"], 4),
        (["normal", "subdural"], 1),
    ]
    assert (pairs[0]["first_as_second"], pairs[0]["second_as_first"]) == (1, 3)
    assert pairs[0]["share"] == pytest.approx(4 / 13)


def test_the_frozen_rule_calls_by_the_most_probable_class(tmp_path, run):
    scaled = make_run(tmp_path, temperature_scaling=True)
    rules = read_rules("multiclass", CLASSES, scaled["operating_point"], tmp_path / "model.pt")
    point = read_class_point(scaled["operating_point"])
    given = np.array([[0.7, 0.2, 0.1]])
    assert rules["normal"].calibrate(given) == pytest.approx(point.calibrate(given))
    assert rules["normal"].threshold is None
    with pytest.raises(InputError, match="that of a classifier of several labels"):
        read_rules("multilabel", CLASSES, scaled["operating_point"], tmp_path / "model.pt")
    assert read_rules("multiclass", CLASSES, None, tmp_path / "model.pt")["normal"].threshold is None


def test_figures_and_report_are_made_of_it(run, tmp_path, monkeypatch):
    names = KINDS["multiclass"].figures
    pd.DataFrame({"epoch": [1, 2], "train_loss": [0.7, 0.5], "val_loss": [0.6, 0.65]}).to_csv(tmp_path / "h.csv")
    write_json(tmp_path / "run.json", {"best_epoch": 1})
    inputs = {name: run[name] for name in ("metrics", "curves", "per_image", "cams", "pixels", "index")}
    inputs |= {
        "images": run["images"],
        "boxes": run["boxes"],
        "history": tmp_path / "h.csv",
        "run": tmp_path / "run.json",
    }
    drawn = []
    for turn in ("first", "second"):
        paths = {name: tmp_path / turn / f"{name}.png" for name in names}
        (tmp_path / turn).mkdir()
        call_script(monkeypatch, plot_multiclass, LOOKS, **inputs, **paths)
        drawn.append([path.read_bytes() for path in paths.values()])
        for path in paths.values():
            with Image.open(path) as image:
                assert image.width == 336
    assert drawn[0] == drawn[1]
    reported = ReportedRun(
        split="grouped", protocol="grouped", task="which", kind="multiclass", model="resnet34", seed=1
    )
    metrics = json.loads(run["metrics"].read_text())
    told = describe_model(reported, metrics, {"best_epoch": 1, "epochs": 2}, paths, leak_free=True)
    captions = [table.caption for table in told["tables"]]
    assert "The pairs of classes most confused on external." in captions
    every = "against all others; the most probable class is predicted."
    assert captions[:3] == [f"Each class on {subset} {every}" for subset in ("test", "external", "val")]
    assert any(caption.startswith("Test against external") for caption in captions)
    assert "3 classes" in told["words"]


def test_examples_are_the_most_confident_one_a_patient():
    rows = [
        ("a", "p", "normal", "normal", True, 0.9),
        ("b", "p", "normal", "normal", True, 0.8),
        ("c", "q", "normal", "normal", True, 0.6),
        ("d", "q", "normal", "subdural", False, 0.7),
    ]
    table = pd.DataFrame(rows, columns=["image_id", "patient", "truth", "predicted", "correct", "probability"])
    assert choose_class_examples(table, "normal", correct=True, count=2)["image_id"].tolist() == ["a", "c"]
    assert choose_class_examples(table, "normal", correct=False, count=2)["image_id"].tolist() == ["d"]
