"""From a detector's finds to tables, the frozen threshold and figures."""

import json

import numpy as np
import pandas as pd
import pytest
from boxed_images import ORIGINAL, SIZE, write_boxed_study
from PIL import Image

from scanline.core.errors import InputError
from scanline.evaluate.detection import evaluate_detection
from scanline.evaluate.detector import DetectorTables, evaluate_detector, fit_on_val, fit_volumes_on_val
from scanline.evaluate.detector_options import BoxOptions, EvaluateDetectorOptions
from scanline.evaluate.detector_point import read_detector_point
from scanline.evaluate.options import EvaluateOptions
from scanline.figures.detector import plot_confusion, plot_froc, plot_precision_recall, plot_training
from scanline.figures.detector_examples import choose_all, plot_box_examples, read_box_slices
from scanline.figures.options import RunFigureOptions
from scanline.predict.detector import detect_samples, original_corners, require_fit
from scanline.train.detection import Detections, DetectorSpec, load_detection_samples

OPTIONS = EvaluateDetectorOptions(
    targets=("bleed",), evaluate=EvaluateOptions(bootstrap_resamples=100), patient_salt="salt"
)


def evaluate(tables, options, point):
    """The evaluation with the volumes' thresholds fitted on the same tables."""
    return evaluate_detector(tables, options, point, fit_volumes_on_val(tables, options))


class Oracle:
    """Finds what is annotated, moved a little, with a false box on some images and nothing on others."""

    def __init__(self, samples, *, exact=False):
        self.exact = exact
        self.boxes = {
            subset.pixels[row].tobytes(): boxes
            for subset in samples.values()
            for row, boxes in zip(subset.rows, subset.boxes, strict=True)
        }

    def __call__(self, images):
        return [self.find(image) for image in images]

    def find(self, image):
        boxes = self.boxes[image.tobytes()]
        if self.exact:
            return Detections(boxes, np.ones(len(boxes), np.int64), np.full(len(boxes), 0.75, np.float32))
        rng = np.random.default_rng(int(image.sum()))
        moved = (boxes + rng.normal(0, 1, boxes.shape)).clip(0, SIZE).astype(np.float32)
        false = np.array([[2, 2, 9, 9]] * int(rng.random() < 0.4), np.float32).reshape(-1, 4)
        scores = np.concatenate([rng.uniform(0.4, 1, len(moved)), rng.uniform(0.01, 0.6, len(false))])
        found = np.concatenate([moved, false])
        return Detections(found, np.ones(len(found), np.int64), scores.astype(np.float32))


@pytest.fixture
def study(tmp_path):
    counts = {"train": 6, "val": 22, "test": 26, "external": 12}
    files = write_boxed_study(tmp_path, counts=counts)
    return files, load_detection_samples(**files, targets=("bleed",))


def tables_of(files, samples, oracle=None):
    detections, predicted = detect_samples(oracle or Oracle(samples), ("bleed",), samples, batch_size=7)
    named = {name: pd.read_parquet(files[name]) for name in ("images", "boxes", "labels")}
    return DetectorTables(detections, predicted, **named)


def test_detections_go_back_to_the_pixels_of_the_original(study):
    files, samples = study
    tables = tables_of(files, samples, Oracle(samples, exact=True))
    truth = pd.read_parquet(files["boxes"])
    held = truth[truth["image_id"].isin(tables.predicted["image_id"])].reset_index(drop=True)
    order = tables.detections.sort_values("image_id", ignore_index=True)
    assert order["image_id"].tolist() == held["image_id"].tolist()
    sides = ["x", "y", "width", "height"]
    # The boxes of the made study lie on whole cached pixels, and 3 and 2 pixels of the original make one of these.
    np.testing.assert_array_equal(order[sides].to_numpy(), held[sides].to_numpy())
    assert set(tables.predicted["subset"]) == {"val", "test", "external"}
    assert len(tables.predicted) == 20 + 24 + 10


def test_corners_are_cut_at_the_original():
    corners = original_corners(np.array([[-1, 0, 16, 33]], np.float32), SIZE, np.array(ORIGINAL))
    assert corners.tolist() == [[0, 0, 48, 64]]


def test_few_and_low_scores_are_dropped(study):
    _, samples = study

    def many(images):
        boxes = np.tile(np.array([[1, 1, 9, 9]], np.float32), (150, 1))
        return [Detections(boxes, np.ones(150, np.int64), np.linspace(0, 1, 150, dtype=np.float32)) for _ in images]

    detections, _ = detect_samples(many, ("bleed",), {"val": samples["val"]})
    assert detections.groupby("image_id").size().eq(100).all()
    assert detections["score"].min() > 0.3

    def low(images):
        return [
            Detections(np.ones((1, 4), np.float32) * [0, 0, 5, 5], np.ones(1, np.int64), np.array([0.0009], np.float32))
            for _ in images
        ]

    detections, predicted = detect_samples(low, ("bleed",), {"val": samples["val"]})
    assert detections.empty
    assert len(predicted) == 20


def test_a_model_of_other_classes_or_size_is_refused(study):
    _, samples = study
    for classes, size in ((("oedema",), SIZE), (("bleed",), 64)):
        spec = DetectorSpec("torchvision", "x", classes, size, 1, (0.0,), (1.0,))
        with pytest.raises(InputError, match=r"model\.pt"):
            require_fit(spec, samples, ("bleed",))
    require_fit(DetectorSpec("torchvision", "x", ("bleed",), SIZE, 1, (0.0,), (1.0,)), samples, ("bleed",))


def best_f1_by_hand(tables):
    """F1 of val at each score, matched afresh at every threshold."""
    val = tables.predicted.loc[tables.predicted["subset"] == "val", "image_id"]
    truth = dict(iter(tables.boxes.groupby("image_id")))
    found = tables.detections[tables.detections["image_id"].isin(val)]
    total = int(tables.boxes["image_id"].isin(val).sum())

    def overlap(one, other):
        wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        shared = max(wide, 0) * max(high, 0)
        return shared / (one.width * one.height + other.width * other.height - shared)

    values = {}
    for threshold in sorted(found["score"].unique()):
        called, tp = found[found["score"] >= threshold], 0
        for image_id, rows in called.groupby("image_id"):
            boxes = truth.get(image_id)
            if boxes is not None:  # the made study has one box an image
                tp += any(overlap(row, next(boxes.itertuples())) >= 0.5 for row in rows.itertuples())
        values[threshold] = 2 * tp / (len(called) + total)
    return values


def test_the_threshold_has_the_best_f1_of_boxes_on_val(study):
    tables = tables_of(*study)
    point = fit_on_val(tables, OPTIONS)
    values = best_f1_by_hand(tables)
    assert point.criterion == pytest.approx(max(values.values()))
    lowest = min(score for score, value in values.items() if value == max(values.values()))
    below = [score for score in values if score < lowest]
    assert (max(below) if below else 0) < point.threshold < lowest
    assert (point.subset, point.images, point.truth_boxes) == ("val", 20, 10)


def test_the_threshold_is_frozen_on_val(study, tmp_path):
    tables = tables_of(*study)
    point = fit_on_val(tables, OPTIONS)
    (tmp_path / "point.json").write_text(json.dumps(point.as_json()))
    assert read_detector_point(tmp_path / "point.json") == point

    def changed(subset):
        rows = tables.detections["subset"] == subset
        scores = tables.detections["score"].where(~rows, tables.detections["score"] / 2)
        return DetectorTables(
            tables.detections.assign(score=scores), tables.predicted, tables.images, tables.boxes, tables.labels
        )

    assert fit_on_val(changed("test"), OPTIONS) == point  # it looks at nothing but val
    assert fit_on_val(changed("val"), OPTIONS) != point
    assert evaluate(changed("test"), OPTIONS, point).metrics["threshold"] == point.threshold
    with pytest.raises(InputError, match="tables_sha256"):
        evaluate(changed("val"), OPTIONS, point)


def test_the_order_of_rows_does_not_matter_to_the_digest(study):
    tables = tables_of(*study)
    shuffled = DetectorTables(
        tables.detections.sample(frac=1, random_state=0),
        tables.predicted.sample(frac=1, random_state=0),
        tables.images,
        tables.boxes.sample(frac=1, random_state=0),
        tables.labels,
    )
    assert fit_on_val(shuffled, OPTIONS) == fit_on_val(tables, OPTIONS)


def test_a_fixed_threshold_and_a_val_without_detections(study):
    tables = tables_of(*study)
    fixed = OPTIONS.model_copy(update={"boxes": BoxOptions(score_threshold=0.3)})
    point = fit_on_val(tables, fixed)
    assert (point.rule, point.threshold, point.tables_sha256) == ("fixed", 0.3, None)
    empty = DetectorTables(tables.detections.iloc[:0], tables.predicted, tables.images, tables.boxes, tables.labels)
    point = fit_on_val(empty, OPTIONS)
    assert (point.threshold, point.criterion) == (0.5, 0.0)
    result = evaluate(empty, OPTIONS, point)
    assert result.metrics["subsets"]["test"]["metrics"]["ap_50"]["value"] == 0
    assert result.detections["class"].isna().all()
    assert len(result.detections) == len(result.image_level) == 54
    no_boxes = DetectorTables(
        tables.detections, tables.predicted, tables.images, tables.boxes.iloc[:0], tables.labels.assign(bleed=False)
    )
    with pytest.raises(InputError, match="no true box"):
        fit_on_val(no_boxes, OPTIONS)


def test_the_two_tables_of_images(study):
    tables = tables_of(*study)
    point = fit_on_val(tables, OPTIONS)
    result = evaluate(tables, OPTIONS, point)
    found = result.detections
    assert found.columns.tolist() == ["image", "class", "confidence", "xmin", "ymin", "xmax", "ymax", "subset"]
    called = tables.detections[tables.detections["score"] >= point.threshold]
    assert set(found["image"]) == set(tables.predicted["image_id"])  # no image is missing
    empty = found[found["class"].isna()]
    assert 0 < len(empty) < len(found)
    assert empty[["confidence", "xmin", "ymin", "xmax", "ymax"]].isna().all(axis=None)
    assert set(empty["image"]) == set(tables.predicted["image_id"]) - set(called["image_id"])
    full = found.dropna(subset=["class"])
    assert len(full) == len(called)
    first = called.set_index("image_id").loc[[full["image"].iloc[0]]].sort_values("score").iloc[-1]
    assert full[["confidence", "xmin", "ymin", "xmax", "ymax"]].iloc[0].tolist() == pytest.approx(
        [first["score"], first["x"], first["y"], first["x"] + first["width"], first["y"] + first["height"]]
    )

    table = result.image_level
    assert table.columns.tolist() == ["image", "patient", "cluster", "truth", "predicted", "max_confidence", "subset"]
    assert table["image"].is_unique
    assert not table["patient"].str.contains("patient").any()  # pseudonyms
    best = tables.detections.groupby("image_id")["score"].max()
    np.testing.assert_allclose(table["max_confidence"], table["image"].map(best))
    assert (table["predicted"] == (table["max_confidence"] >= point.threshold)).all()
    labels = tables.labels.set_index("image_id")["bleed"]
    assert (table["truth"] == table["image"].map(labels)).all()


def test_yes_or_no_is_counted_on_images_volumes_and_patients(study):
    tables = tables_of(*study)
    result = evaluate(tables, OPTIONS, fit_on_val(tables, OPTIONS))
    table = result.image_level[result.image_level["subset"] == "test"]
    part = result.metrics["subsets"]["test"]["yes_or_no"]
    counts = part["image"]["any_class"]["confusion"]
    assert counts == {
        "tp": int((table["truth"] & table["predicted"]).sum()),
        "fp": int((~table["truth"] & table["predicted"]).sum()),
        "fn": int((table["truth"] & ~table["predicted"]).sum()),
        "tn": int((~table["truth"] & ~table["predicted"]).sum()),
    }
    assert part["image"]["any_class"] == part["image"]["per_class"]["bleed"]
    by_patient = table.groupby("patient")[["truth", "predicted"]].any()
    assert part["patient"]["any_class"]["confusion"]["tp"] == int((by_patient["truth"] & by_patient["predicted"]).sum())
    assert part["volume"]["any_class"]["confusion"] == part["patient"]["any_class"]["confusion"]
    accuracy = part["image"]["any_class"]["metrics"]["accuracy"]
    assert accuracy["value"] == pytest.approx((counts["tp"] + counts["tn"]) / 24)
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    cases = result.metrics["subsets"]["test"]["cases"]["image"]["any_class"]
    assert cases["sensitivity"]["value"] == part["image"]["any_class"]["metrics"]["recall"]["value"]


def test_perfect_detections_are_perfect_everywhere(study):
    tables = tables_of(*study, Oracle(study[1], exact=True))
    metrics = evaluate(tables, OPTIONS, fit_on_val(tables, OPTIONS)).metrics
    json.dumps(metrics, allow_nan=False)
    assert metrics["threshold"] == 0.375
    for result in metrics["subsets"].values():
        assert result["metrics"]["ap_50_95"]["value"] == 1
        assert result["yes_or_no"]["image"]["any_class"]["metrics"]["accuracy"]["value"] == 1


def test_a_test_without_images_is_refused(study):
    tables = tables_of(*study)
    predicted = tables.predicted[tables.predicted["subset"] != "test"]
    part = DetectorTables(tables.detections, predicted, tables.images, tables.boxes, tables.labels)
    with pytest.raises(InputError, match="subset test"):
        evaluate(part, OPTIONS, fit_on_val(part, OPTIONS))


def test_examples_show_each_slice_once_among_the_found(study):
    tables = tables_of(*study)
    boxes = evaluate(tables, OPTIONS, fit_on_val(tables, OPTIONS)).boxes
    test = boxes[boxes["subset"] == "test"]
    # Each image is a patient of its own here; tests of `picture_grid` mix them.
    chosen = choose_all(test, {image_id: image_id for image_id in test["image_id"]}, 2)
    found = [example.image_id for group in ("best", "typical", "worst") for example in chosen[group]]
    assert len(found) == len(set(found)) == 6
    overlaps = test[test["outcome"] == "TP"].sort_values("iou")["image_id"].tolist()
    assert [example.image_id for example in chosen["best"]] == overlaps[::-1][:2]
    assert [example.image_id for example in chosen["worst"]] == overlaps[:2]
    missed = set(test.loc[test["outcome"] == "missed", "image_id"])
    assert {example.image_id for example in chosen["missed"]} <= missed
    assert {example.image_id for example in chosen["false"]} <= set(test.loc[test["outcome"] == "FP", "image_id"])


@pytest.mark.parametrize("finds", ["some", "nothing"])
def test_figures_are_drawn(study, tmp_path, finds):
    files, samples = study
    tables = tables_of(files, samples)
    if finds == "nothing":
        tables = DetectorTables(
            tables.detections.iloc[:0], tables.predicted, tables.images, tables.boxes, tables.labels
        )
    result = evaluate(tables, OPTIONS, fit_on_val(tables, OPTIONS))
    options = RunFigureOptions(title="made", phantom=True, resolution_dpi=50)
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [2, 1], "val_loss": [2, 1.5], "ap50": 0.5, "ap50_95": 0.2})
    plot_training(history, {"best_epoch": 2}, options, tmp_path / "training.png")
    plot_precision_recall(result.curves, result.metrics, options, tmp_path / "precision_recall.png")
    plot_froc(result.curves, result.metrics, options, tmp_path / "froc.png")
    plot_confusion(result.metrics, options, tmp_path / "confusion.png")
    slices = read_box_slices(
        pixels=files["pixels"], index=files["index"], images=files["images"], image_level=result.image_level
    )
    plot_box_examples(result.boxes, slices, result.metrics["threshold"], options, tmp_path / "examples.png")
    drawn = sorted(path.stem for path in tmp_path.glob("*.png"))
    assert drawn == ["confusion", "examples", "froc", "precision_recall", "training"]
    for path in tmp_path.glob("*.png"):
        assert len(np.unique(np.asarray(Image.open(path).convert("L")))) > 20


def test_subgroups_are_those_of_the_images_alone(study):
    tables = tables_of(*study)
    images = tables.images.assign(sex=[["F", "M", None][int(name[-3:]) // 2 % 3] for name in tables.images["image_id"]])
    tables = DetectorTables(tables.detections, tables.predicted, images, tables.boxes, tables.labels)
    point = fit_on_val(tables, OPTIONS)
    metrics = evaluate(tables, OPTIONS, point).metrics
    assert set(metrics["subgroups"]) == {"test", "external"}
    columns = {column["by"]: column["groups"] for column in metrics["subgroups"]["test"]}
    assert [group["name"] for group in columns["sex"]] == ["F", "M", "unknown"]
    assert columns["lesion_size"][0]["name"] == "no lesion"
    assert columns["lesion_size"][0]["metrics"]["ap_50"]["reason"] == "no truth box of any class"
    assert sum(group["positives"] for group in columns["lesion_size"]) == metrics["subsets"]["test"]["truth_boxes"]
    ids = tables.predicted.loc[tables.predicted["subset"] == "test", "image_id"]
    own = images[images["image_id"].isin(ids) & (images["sex"] == "F")]

    def of(table):
        return table[table["image_id"].isin(own["image_id"])]

    alone = evaluate_detection(
        of(tables.boxes),
        of(tables.detections),
        own,
        ("bleed",),
        labels=tables.labels,
        score_threshold=point.threshold,
        options=OPTIONS.evaluate,
    ).metrics
    found = columns["sex"][0]
    assert found["images"] == len(own)
    assert {name: value["value"] for name, value in found["metrics"].items()} == {
        "ap_50": alone["metrics"]["ap_50"]["value"],
        "sensitivity": alone["lesions"]["all_classes"]["recall"]["value"],
        "false_positives_per_image": alone["lesions"]["all_classes"]["false_positives_per_image"]["value"],
        "image_sensitivity": alone["cases"]["image"]["any_class"]["sensitivity"]["value"],
        "image_specificity": alone["cases"]["image"]["any_class"]["specificity"]["value"],
    }
    assert found["metrics"]["ap_50"]["low"] <= found["metrics"]["ap_50"]["value"] <= found["metrics"]["ap_50"]["high"]


def test_the_gap_is_test_minus_external(study):
    tables = tables_of(*study)
    metrics = evaluate(tables, OPTIONS, fit_on_val(tables, OPTIONS)).metrics
    test, external = (metrics["subsets"][name]["metrics"]["ap_50"]["value"] for name in ("test", "external"))
    assert metrics["gap"]["ap_50"]["value"] == pytest.approx(test - external)
    kept = tables.predicted["subset"] != "external"
    inside = tables.detections["subset"] != "external"
    without = DetectorTables(
        tables.detections[inside], tables.predicted[kept], tables.images, tables.boxes, tables.labels
    )
    assert evaluate(without, OPTIONS, fit_on_val(without, OPTIONS)).metrics["gap"] is None
