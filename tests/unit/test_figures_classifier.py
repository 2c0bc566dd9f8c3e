import hashlib
import json
import sys

import pandas as pd
import pytest
from PIL import Image
from sample_results import make_run, make_study, metric

import plot_classifier
from scanline.core.errors import InputError
from scanline.core.files import read_json
from scanline.evaluate.reliability import evaluate_calibration
from scanline.figures.classifier import plot_calibration, plot_confusion, plot_curve
from scanline.figures.examples import Slices, choose_examples, plot_examples, read_slices
from scanline.figures.options import RunFigureOptions
from scanline.figures.picture_grid import scale_boxes
from scanline.figures.training import plot_loss, read_history

OPTIONS = RunFigureOptions(title="a title", phantom=False, resolution_dpi=60)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def run(tmp_path_factory, study):
    return make_run(tmp_path_factory.mktemp("run"), study)


@pytest.fixture(scope="module")
def slices(study, run):
    sources = {name: study[name] for name in ("pixels", "index", "images", "boxes")}
    return read_slices(cams=run["cams"], **sources)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_script_draws_its_figures_with_the_same_bytes_each_time(study, run, tmp_path, monkeypatch):
    outputs = ("loss", "roc", "precision_recall", "confusion", "calibration", "examples")
    digests = []
    for turn in ("first", "second"):
        paths = {name: tmp_path / turn / f"{name}.png" for name in outputs}
        arguments = {name: run[name] for name in ("history", "run", "metrics", "curves", "per_image", "cams")}
        arguments |= {name: study[name] for name in ("pixels", "index", "images", "boxes")} | paths
        options = json.dumps({"title": "a run", "phantom": True, "resolution_dpi": 60})
        words = [word for name, path in arguments.items() for word in (f"--{name.replace('_', '-')}", str(path))]
        monkeypatch.setattr(sys, "argv", ["plot_classifier.py", "--options", options, *words])
        plot_classifier.main()
        digests.append([digest(path) for path in paths.values()])
        with Image.open(paths["examples"]) as image:
            assert "Software" not in image.info
            assert image.width > 300
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == len(outputs)


def test_the_phantom_mark_changes_the_figure(run, tmp_path):
    history, facts = read_history(run["history"]), read_json(run["run"])
    plain, marked = tmp_path / "plain.png", tmp_path / "marked.png"
    plot_loss(history, facts, OPTIONS, plain)
    plot_loss(history, facts, OPTIONS.model_copy(update={"phantom": True}), marked)
    assert digest(plain) != digest(marked)


def test_undefined_areas_are_drawn_as_words(run, tmp_path):
    metrics = read_json(run["metrics"])
    metrics["subsets"]["val"]["metrics"] = {name: metric(None) for name in metrics["subsets"]["val"]["metrics"]}
    metrics["threshold"] = None
    metrics["subsets"]["val"]["confusion"] = {"tp": 0, "fp": 0, "fn": 0, "tn": 48}
    metrics["subsets"]["val"]["positives"] = 0
    curves = pd.read_parquet(run["curves"])
    for kind in ("roc", "precision_recall"):
        plot_curve(kind, curves[curves["subset"] == "test"], metrics, OPTIONS, tmp_path / f"{kind}.png")
        assert (tmp_path / f"{kind}.png").stat().st_size > 1000
    plot_confusion(metrics, OPTIONS, tmp_path / "confusion.png")
    metrics["subsets"]["val"]["calibration"] = evaluate_calibration([], [])
    plot_calibration(metrics, OPTIONS, tmp_path / "calibration.png")


def test_a_history_without_epochs_is_one_clear_line(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,train_loss,val_loss\n")
    with pytest.raises(InputError, match="no epoch"):
        read_history(path)
    path.write_text("epoch,train_loss\n1,0.5\n")
    with pytest.raises(InputError, match="no column val_loss"):
        read_history(path)
    with pytest.raises(InputError, match="table of epochs"):
        read_history(tmp_path / "absent.csv")


def per_image(*rows):
    table = pd.DataFrame(rows, columns=["image_id", "patient", "probability", "outcome"])
    return table.assign(subset="test")


def test_examples_are_the_most_confident_and_the_nearest_to_the_threshold():
    rows = [(f"i{n}", f"p{n}", 0.5 + n / 20, "TP") for n in range(10)]
    chosen = choose_examples(per_image(*rows), "TP", 0.5, 4)
    assert [(e.image_id, e.why) for e in chosen] == [
        ("i9", "most confident"),
        ("i8", "most confident"),
        ("i0", "near threshold"),
        ("i1", "near threshold"),
    ]
    missed = per_image(*[(f"i{n}", f"p{n}", n / 20, "FN") for n in range(10)])
    assert [e.image_id for e in choose_examples(missed, "FN", 0.5, 2)] == ["i0", "i9"]


def test_examples_show_other_patients_first_and_do_not_depend_on_row_order():
    rows = per_image(("a", "p1", 0.9, "FP"), ("b", "p1", 0.8, "FP"), ("c", "p2", 0.7, "FP"), ("d", None, 0.6, "FP"))
    chosen = choose_examples(rows, "FP", None, 3)
    assert [example.image_id for example in chosen] == ["a", "c", "d"]
    assert choose_examples(rows.iloc[::-1], "FP", None, 3) == chosen
    assert [e.image_id for e in choose_examples(rows, "FP", None, 9)] == ["a", "b", "c", "d"]
    assert choose_examples(rows, "TN", 0.5, 3) == []


def test_boxes_are_scaled_to_the_cached_square():
    boxes = pd.DataFrame([{"x": 40.0, "y": 20.0, "width": 24.0, "height": 16.0}])
    scaled = scale_boxes(boxes, width=96, height=64, size=48).iloc[0]
    assert scaled.tolist() == [20.0, 15.0, 12.0, 12.0]


def test_an_empty_outcome_takes_a_line_and_a_missing_map_no_error(run, slices, tmp_path):
    table = pd.read_parquet(run["per_image"])
    threshold = read_json(run["metrics"])["threshold"]
    plot_examples(table, slices, threshold, OPTIONS, tmp_path / "all.png")
    nothing = table[table["outcome"] == "TN"]
    without = Slices(slices.cache, {}, slices.images, slices.boxes.iloc[:0])
    plot_examples(nothing, without, threshold, OPTIONS, tmp_path / "few.png")
    with Image.open(tmp_path / "all.png") as full, Image.open(tmp_path / "few.png") as few:
        assert few.width == full.width
        assert few.height < full.height
