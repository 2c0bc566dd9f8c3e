"""Each kind of task is told only the options that its evaluation reads, so that others rerun nothing."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from boxed_images import write_boxed_study
from segmentation_study import TARGET, make_maps, make_segmentation_study

from scanline.core.options import read_options
from scanline.evaluate.classifier import evaluate_classifier
from scanline.evaluate.classifier import fit_on_val as fit_classifier
from scanline.evaluate.detector import DetectorTables, evaluate_detector, fit_volumes_on_val
from scanline.evaluate.detector import fit_on_val as fit_detector
from scanline.evaluate.detector_options import EvaluateDetectorOptions
from scanline.evaluate.leakage import compare_splits
from scanline.evaluate.multilabel_classifier import evaluate_multilabel_classifier, fit_labels_on_val
from scanline.evaluate.multilabel_options import EvaluateMultilabelOptions
from scanline.evaluate.options import CompareSplitsOptions, EvaluateClassifierOptions, EvaluateOptions
from scanline.evaluate.segmenter import evaluate_segmenter, read_truths
from scanline.evaluate.segmenter import fit_on_val as fit_segmenter
from scanline.evaluate.segmenter_options import EvaluateSegmenterOptions
from scanline.evaluate.study_options import INTERVALS, USED, StudyEvaluateOptions
from scanline.predict.probability_maps import ProbabilityMaps

READ = set()
SALT = {"patient_salt": "salt"}


class Recording(EvaluateOptions):
    """Remembers which of its fields were read."""

    def __getattribute__(self, name):
        if name in EvaluateOptions.model_fields:
            READ.add(name)
        return super().__getattribute__(name)


def told(model, **values):
    """Options of a rule that record what is read of them from now on, checks of the options themselves left out."""
    options = model(**values, **SALT, evaluate=Recording(bootstrap_resamples=100))
    READ.clear()
    return options


def scored(labels):
    """Scores of several labels and an images table that tells groups apart."""
    rng = np.random.default_rng(0)
    number = 60
    subset = np.repeat(["val", "test", "external"], number // 3)
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(number)], "subset": subset})
    for label in labels:
        truth = rng.random(number) < 0.5
        table[f"truth_{label}"] = truth
        table[f"probability_{label}"] = np.clip(0.3 * truth + rng.random(number) * 0.6, 0, 1)
    images = pd.DataFrame(
        {
            "image_id": table["image_id"],
            "patient_id": [f"p{k // 2}" for k in range(number)],
            "width": 64,
            "height": 64,
            "sex": rng.choice(["F", "M"], number),
            "age_years": rng.uniform(20, 90, number),
        }
    )
    boxes = pd.DataFrame(columns=["image_id", "label", "x", "y", "width", "height"]).astype(
        dict.fromkeys(("x", "y", "width", "height"), float)
    )
    return table, images, boxes


def binary(_):
    table, images, boxes = scored(["bleed"])
    scores = table.rename(columns={"truth_bleed": "truth", "probability_bleed": "probability"})
    options = told(EvaluateClassifierOptions, target="bleed")
    return evaluate_classifier(scores, images, boxes, {}, options, fit_classifier(scores, options)).metrics


def multilabel(_):
    table, images, boxes = scored(["bleed", "oedema"])
    options = told(EvaluateMultilabelOptions, targets=("bleed", "oedema"))
    points = fit_labels_on_val(table, options)
    return evaluate_multilabel_classifier(table, images, boxes, {}, options, points).metrics


def detect(folder):
    files = write_boxed_study(folder, counts={"val": 12, "test": 14, "external": 10})
    named = {name: pd.read_parquet(files[name]) for name in ("images", "boxes", "labels")}
    named["images"] = named["images"].assign(sex=list("FM") * 18, age_years=np.linspace(20, 90, 36))
    known = named["labels"].dropna()["image_id"]
    known = known[
        known.isin(named["boxes"]["image_id"]) | ~named["labels"].set_index("image_id")["bleed"][known].values
    ]
    predicted = pd.read_parquet(files["split"]).loc[lambda table: table["image_id"].isin(known), ["image_id", "subset"]]
    detections = named["boxes"].merge(predicted, on="image_id").assign(score=0.9)
    tables = DetectorTables(detections, predicted, **named)
    options = told(EvaluateDetectorOptions, targets=("bleed",))
    return evaluate_detector(
        tables, options, fit_detector(tables, options), fit_volumes_on_val(tables, options)
    ).metrics


def segment(folder):
    study = make_segmentation_study(folder)
    (folder / "maps").mkdir()
    files = make_maps(study, folder / "maps")
    maps, truths = ProbabilityMaps(files["maps"], files["table"]), read_truths(study["masks"], study["index"])
    images, labels = pd.read_parquet(study["images"]), pd.read_parquet(study["labels"])
    images = images.assign(sex=list("FM") * 20, age_years=np.linspace(20, 90, 40))
    options = told(EvaluateSegmenterOptions, target=TARGET)
    point = fit_segmenter(maps.table, maps, truths, options, "maps")
    return evaluate_segmenter(maps.table, maps, truths, images, labels, options, point).metrics


EVALUATE = {"binary": binary, "multilabel": multilabel, "detect": detect, "segment": segment}


@pytest.mark.parametrize("kind", EVALUATE)
def test_an_evaluation_reads_what_its_kind_is_told_and_nothing_else(kind, tmp_path):
    metrics = EVALUATE[kind](tmp_path)
    used = set(USED[kind])
    assert READ | ({"target"} & used) == used  # a rule without a target does not read it
    by = [column["by"] for column in metrics["subgroups"]["test"]]
    assert by[:2] == ["sex", "age_years"]


def test_comparing_splits_reads_the_intervals():
    per_image = pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(12)],
            "cluster": [f"p{k // 2}" for k in range(12)],
            "subset": "test",
            "truth": [True, False] * 6,
            "probability": np.linspace(0, 1, 12),
            "predicted": [False] * 6 + [True] * 6,
        }
    )
    run = {"task": "t", "model": "m", "seed": 1}
    runs = [{**run, "split": name, "protocol": name} for name in ("grouped", "naive_image")]
    metric = {"value": 0.5, "low": 0.4, "high": 0.6, "reason": None}
    metrics = {"subsets": {"test": {"metrics": dict.fromkeys(("accuracy", "f1", "auroc"), metric)}}}
    receipt = {"leaks": {"group_id": {"test_images_share": 0.0}}, "leak_free": True}
    options = CompareSplitsOptions(runs=runs, evaluate=Recording(bootstrap_resamples=100))
    READ.clear()
    assert compare_splits([metrics] * 2, [per_image] * 2, [receipt] * 2, options)["differences"]
    assert set(INTERVALS) == READ


CHANGES = {
    "masks": ({"masks": {"min_predicted_pixels": 9}}, {"segment"}),
    "boxes": ({"boxes": {"iou_threshold": 0.3}}, {"detect"}),
    "operating_point": ({"operating_point": "youden"}, {"binary", "multilabel"}),
    "prevalence": ({"prevalence": 0.1}, {"binary", "multilabel", "detect"}),
    "subgroups": ({"subgroups": ["sex"]}, set(USED)),
    "bootstrap_resamples": ({"bootstrap_resamples": 150}, {*USED, "comparison"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_option_reaches_the_kinds_that_use_it(change):
    def parts(options):
        kinds = {kind: options.of_kind(kind) for kind in USED}
        return {**kinds, "comparison": options.of_intervals()}

    values, reached = CHANGES[change]
    before, after = parts(StudyEvaluateOptions()), parts(StudyEvaluateOptions.model_validate(values))
    assert {name for name in before if before[name] != after[name]} == reached


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("binary", EvaluateClassifierOptions),
        ("multilabel", EvaluateMultilabelOptions),
        ("detect", EvaluateDetectorOptions),
        ("segment", EvaluateSegmenterOptions),
    ],
)
def test_what_a_kind_is_told_is_read_back_as_it_was_set(kind, model):
    study = StudyEvaluateOptions.model_validate(
        {
            "bootstrap_resamples": 321,
            "age_edges_years": [50],
            "masks": {"threshold": "fixed", "min_predicted_pixels": 5, "surface_tolerance_px": 2},
            "boxes": {"score_threshold": 0.4, "iou_threshold": 0.3},
        }
    )
    target = {"targets": ["a", "b"]} if "targets" in model.model_fields else {"target": "a"}
    values = {**target, **study.of_kind(kind), **SALT}
    text = json.dumps(values, default=lambda one: one.model_dump(mode="json"))
    options = read_options(model, text)
    assert (options.evaluate.bootstrap_resamples, options.evaluate.age_edges_years) == (321, (50,))
    if kind == "segment":
        assert options.masks == study.masks
    if kind == "detect":
        assert options.boxes == study.boxes
        assert options.volumes == study.volumes


def test_every_option_is_used_by_some_kind():
    fields = set(StudyEvaluateOptions.model_fields) - {"masks", "boxes", "volumes"}
    assert fields == set(itertools.chain.from_iterable(USED.values()))
