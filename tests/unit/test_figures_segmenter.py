import hashlib
import json
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sample_results import make_run_facts
from segmentation_study import TARGET, make_maps, make_segmentation_study

import plot_segmenter as script
from scanline.core.errors import InputError
from scanline.core.files import read_json, write_json
from scanline.core.tables import write_table
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.segmenter import evaluate_segmenter, fit_on_val, read_truths
from scanline.evaluate.segmenter_options import EvaluateSegmenterOptions
from scanline.figures.options import RunFigureOptions
from scanline.figures.segmenter import (
    dice_of_patients,
    plot_dice,
    plot_image_confusion,
    plot_pixel_confusion,
    plot_training,
)
from scanline.figures.segmenter_overlays import choose_overlays, detail_around, outline_segments
from scanline.predict.probability_maps import ProbabilityMaps

OUTPUTS = ("training", "dice", "pixel_confusion", "image_confusion", "overlays")
OPTIONS = RunFigureOptions(title="a run", phantom=False, resolution_dpi=60)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """All that the script reads."""
    folder = tmp_path_factory.mktemp("run")
    study = make_segmentation_study(folder)
    files = {name: study[name] for name in ("pixels", "index", "masks")} | make_maps(study, folder)
    maps, truths = ProbabilityMaps(files["maps"], files["table"]), read_truths(study["masks"], study["index"])
    options = EvaluateSegmenterOptions(
        target=TARGET, evaluate=EvaluateOptions(bootstrap_resamples=100), patient_salt="salt"
    )
    tables = (pd.read_parquet(study[name]) for name in ("images", "labels"))
    point = fit_on_val(maps.table, maps, truths, options, "maps")
    result = evaluate_segmenter(maps.table, maps, truths, *tables, options, point)
    files |= {name: folder / name for name in ("metrics", "run", "history")} | {"per_image": folder / "p.parquet"}
    write_json(files["metrics"], result.metrics)
    write_table(result.per_image, files["per_image"])
    write_json(files["run"], make_run_facts(4) | {"loss": "bce_dice"})
    epochs = pd.DataFrame({"epoch": range(1, 7), "train_loss": np.linspace(1.6, 0.4, 6)})
    epochs = epochs.assign(val_loss=[1.7, 1.3, 1.0, 0.8, 0.82, 0.85], dice=[0.02, 0.2, 0.4, 0.52, 0.55, 0.54])
    epochs.to_csv(files["history"], index=False)
    return files


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def draw(run, folder, monkeypatch, **options):
    files = run | {name: folder / f"{name}.png" for name in OUTPUTS}
    words = [word for name, path in files.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    text = json.dumps({"title": "a run", "phantom": False, "resolution_dpi": 60} | options)
    monkeypatch.setattr(sys, "argv", ["plot_segmenter.py", "--options", text, *words])
    script.main()
    return [digest(files[name]) for name in OUTPUTS]


def test_the_script_draws_its_figures_with_the_same_bytes_each_time(run, tmp_path, monkeypatch):
    first = draw(run, tmp_path / "first", monkeypatch)
    assert draw(run, tmp_path / "second", monkeypatch) == first
    assert len(set(first)) == len(OUTPUTS)
    marked = draw(run, tmp_path / "marked", monkeypatch, phantom=True)
    assert not set(marked) & set(first)
    with Image.open(tmp_path / "first/overlays.png") as image:
        assert image.width > 300


def row(image_id, patient, kind, dice, predicted=True, tp=10, fn=5, pixels=12):
    return {
        "image_id": image_id,
        "patient": patient,
        "kind": kind,
        "predicted": predicted,
        "dice": dice,
        "tp": tp,
        "fp": 0,
        "fn": fn,
        "predicted_pixels": pixels,
    }


def test_groups_of_overlays_hold_what_they_say():
    rows = [row(f"i{number}", f"p{number}", "lesion_positive", number / 10) for number in range(10)]
    rows += [
        row("m1", "p1", "lesion_positive", 0.0, False, 0, 4, 0),
        row("m2", "p1", "lesion_positive", 0.0, False, 0, 9, 0),
    ]
    rows += [row("e1", "p2", "empty_true", 0.0, pixels=3), row("e2", "p3", "empty_true", 0.0, pixels=8)]
    rows += [row("e3", "p4", "empty_true", np.nan, False, pixels=0), row("u", "p5", "unknown", np.nan, pixels=99)]
    chosen = choose_overlays(pd.DataFrame(rows).sample(frac=1, random_state=1), 2)
    assert {name: table["image_id"].tolist() for name, table in chosen.items()} == {
        "best": ["i9", "i8"],
        "typical": ["i4", "i5"],
        "worst": ["i0", "i1"],
        "missed": ["m2", "m1"],
        "false_alarm": ["e2", "e1"],
    }


def test_other_patients_come_first():
    rows = [row("a", "p", "lesion_positive", 0.9), row("b", "p", "lesion_positive", 0.8)]
    rows += [row(f"c{n}", f"q{n}", "lesion_positive", 0.5 + n / 100) for n in range(4)]
    assert choose_overlays(pd.DataFrame(rows), 2)["best"]["image_id"].tolist() == ["a", "c3"]


def test_an_outline_runs_along_the_sides_of_its_pixels():
    mask = np.zeros((4, 4), dtype=bool)
    mask[1, 2] = mask[2, 2] = True
    sides = {tuple(map(tuple, side)) for side in outline_segments(mask).tolist()}
    assert sides == {
        ((2, 1), (2, 2)), ((2, 2), (2, 3)), ((3, 1), (3, 2)), ((3, 2), (3, 3)), ((2, 1), (3, 1)), ((2, 3), (3, 3))
    }  # fmt: skip
    assert len(outline_segments(np.ones((4, 4), dtype=bool))) == 16
    assert len(outline_segments(np.zeros((4, 4), dtype=bool))) == 0


def test_the_detail_holds_the_whole_mask_and_stays_in_the_image():
    for seed in range(30):
        mask = np.zeros((40, 40), dtype=bool)
        y, x, height, width = np.random.default_rng(seed).integers(0, 40, 4)
        mask[y : y + height, x : x + width] = True
        left, top, side = detail_around(mask)
        rows, columns = np.nonzero(mask)
        assert side <= 40
        assert 0 <= left <= 40 - side
        assert 0 <= top <= 40 - side
        if len(rows):
            assert left <= columns.min()
            assert columns.max() + 1 <= left + side
            assert top <= rows.min()
            assert rows.max() + 1 <= top + side
    assert detail_around(np.zeros((8, 8), dtype=bool)) == (0.0, 0.0, 8.0)


def test_a_patients_dice_is_that_of_all_its_pixels():
    rows = [row("a", "p", "lesion_positive", 0.8, tp=2, fn=1), row("b", "p", "empty_true", 0.0, tp=0, fn=0) | {"fp": 3}]
    rows += [
        row("c", "q", "unknown", np.nan),
        row("d", None, "lesion_positive", 0.5),
        row("e", "r", "empty_true", 0.0, tp=0, fn=0),
    ]
    assert dice_of_patients(pd.DataFrame(rows)).to_dict() == {"p": 0.5}


def test_undefined_values_and_empty_groups_are_drawn_as_words(run, tmp_path, monkeypatch):
    metrics, table = read_json(run["metrics"]), pd.read_parquet(run["per_image"])
    table = table[(table["subset"] == "val") | (table["kind"] == "unknown")]
    undefined = {"value": None, "low": None, "high": None, "reason": "no image is lesion-positive"}
    for section, names in (("per_image", ("dice_mean", "dice_median")), ("per_patient", ("dice_mean",))):
        metrics["subsets"]["test"][section]["metrics"] |= dict.fromkeys(names, undefined)
    for name in ("image_level", "pixel_confusion"):
        metrics["subsets"]["test"][name] |= {"tp": 0, "fn": 0}
    plot_dice(table, metrics, OPTIONS, tmp_path / "dice.png")
    plot_pixel_confusion(metrics, OPTIONS, tmp_path / "pixels.png")
    plot_image_confusion(metrics, OPTIONS, tmp_path / "images.png")
    write_table(table, tmp_path / "p.parquet")
    write_json(tmp_path / "metrics.json", metrics)
    draw(run | {"per_image": tmp_path / "p.parquet", "metrics": tmp_path / "metrics.json"}, tmp_path, monkeypatch)
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in OUTPUTS)


def test_a_history_without_dice_is_one_line(run, tmp_path):
    history = pd.read_csv(run["history"]).drop(columns="dice")
    with pytest.raises(InputError, match="the column dice"):
        plot_training(history, read_json(run["run"]), OPTIONS, tmp_path / "training.png")
