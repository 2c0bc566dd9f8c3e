import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from multilabel_files import call_script, make_files, make_scores
from PIL import Image

import evaluate_multilabel
import plot_multilabel
from scanline.core.files import write_json
from scanline.figures.multilabel import plot_errors_together, plot_label_areas, plot_label_curves
from scanline.figures.options import RunFigureOptions
from scanline.predict.activation_maps import write_maps

OUTPUTS = ("loss", "roc", "precision_recall", "areas", "confusion", "calibration", "errors_together", "examples")
LOOKS = {"title": "a run", "phantom": True, "resolution_dpi": 60}


def make_run(folder, labels, **data):
    """Everything that the figures of one run are drawn from."""
    files = make_files(folder / "data", labels, **data)
    scores, maps = make_scores(files, labels)
    scores.to_parquet(folder / "scores.parquet")
    write_maps(scores["image_id"].tolist(), maps, labels, folder / "cams.npz")
    outputs = {name: folder / f"{name}.json" for name in ("metrics", "operating_point")}
    outputs |= {name: folder / f"{name}.parquet" for name in ("per_image", "curves")}
    outputs["per_image_csv"] = folder / "per_image.csv"
    options = {"targets": labels, "patient_salt": "salt", "evaluate": {"bootstrap_resamples": 100}}
    tables = {name: files[name] for name in ("images", "boxes", "split")} | {"cams": folder / "cams.npz"}
    with pytest.MonkeyPatch.context() as patch:
        call_script(patch, evaluate_multilabel, options, scores=folder / "scores.parquet", **tables, **outputs)
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.7, 0.5], "val_loss": [0.6, 0.65]})
    history.to_csv(folder / "history.csv", index=False)
    write_json(folder / "run.json", {"best_epoch": 1})
    del tables["split"]
    inputs = {name: outputs[name] for name in ("metrics", "curves", "per_image")} | tables
    inputs |= {"history": folder / "history.csv", "run": folder / "run.json"}
    return inputs | {name: files[name] for name in ("pixels", "index")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), ("bleed", "oedema"), patients=30)


def draw(monkeypatch, run, folder):
    paths = {name: folder / f"{name}.png" for name in OUTPUTS}
    call_script(monkeypatch, plot_multilabel, LOOKS, **run, **paths)
    return paths


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_script_draws_its_figures_with_the_same_bytes_each_time(run, tmp_path, monkeypatch):
    digests = []
    for turn in ("first", "second"):
        paths = draw(monkeypatch, run, tmp_path / turn)
        digests.append([digest(path) for path in paths.values()])
        for path in paths.values():
            with Image.open(path) as image:
                assert "Software" not in image.info
                assert image.width > 300
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == len(OUTPUTS)


def test_fourteen_labels_with_an_external_set_and_a_network_without_maps(tmp_path, monkeypatch):
    labels = tuple(f"finding_with_a_long_name_{number}" for number in range(14))
    run = make_run(tmp_path, labels, patients=30, external=6)
    images = pd.read_parquet(run["per_image"])["image_id"].tolist()
    write_maps(images, np.empty((0, 14, 1, 1), np.float16), labels, run["cams"])
    paths = draw(monkeypatch, run, tmp_path)
    heights = {}
    for name, path in paths.items():
        with Image.open(path) as image:
            assert image.width == 336
            heights[name] = image.height
    assert heights["roc"] > 5 * 336 / 3  # five rows of three square panels
    assert 60 * 14 < heights["examples"] <= 60 * 20  # an inch a label, and no more than 20 in all


def test_figures_show_what_the_metrics_say(run, tmp_path):
    options, metrics = RunFigureOptions(**LOOKS), json.loads(run["metrics"].read_text())
    curves = pd.read_parquet(run["curves"])
    drawings = {
        "areas": lambda path: plot_label_areas(metrics, options, path),
        "roc": lambda path: plot_label_curves("roc", curves, metrics, options, path),
        "precision_recall": lambda path: plot_label_curves("precision_recall", curves, metrics, options, path),
        "errors": lambda path: plot_errors_together(metrics, options, path),
    }
    before = {}
    for name, drawn in drawings.items():
        drawn(tmp_path / f"{name}.png")
        before[name] = digest(tmp_path / f"{name}.png")
    test = metrics["subsets"]["test"]
    test["per_class"]["oedema"]["auroc"]["value"] = 0.61
    test["per_class"]["bleed"]["recall"]["value"] = 0.2
    test["errors_together"][0][1] += 1
    for name, drawn in drawings.items():
        drawn(tmp_path / f"{name}.png")
        assert digest(tmp_path / f"{name}.png") != before[name], name


def test_an_undefined_value_is_written_as_such(run, tmp_path):
    options, metrics = RunFigureOptions(**LOOKS), json.loads(run["metrics"].read_text())
    curves = pd.read_parquet(run["curves"])
    label = metrics["subsets"]["test"]["per_class"]["oedema"]
    for name in ("auroc", "auprc", "recall", "precision", "specificity", "ece"):
        label[name] = {"value": None, "low": None, "high": None, "reason": "unknown", "undefined_resamples": 0}
    label |= {"images": 0, "positives": 0, "negatives": 0}
    metrics["subsets"]["test"]["calibration"]["oedema"] = None
    metrics["subsets"]["test"]["confusion"]["oedema"] = {"tp": 0, "fp": 0, "fn": 0, "tn": 0}
    gone = (curves["label"] == "oedema") & (curves["subset"] == "test")
    write_json(tmp_path / "metrics.json", metrics)
    curves[~gone].to_parquet(tmp_path / "curves.parquet")
    changed = run | {"metrics": tmp_path / "metrics.json", "curves": tmp_path / "curves.parquet"}
    with pytest.MonkeyPatch.context() as patch:
        paths = draw(patch, changed, tmp_path)
    assert all(path.stat().st_size > 1000 for path in paths.values())
    plot_label_areas(metrics, options, tmp_path / "again.png")
    assert digest(tmp_path / "again.png") == digest(paths["areas"])
