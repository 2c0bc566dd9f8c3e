"""Made boxes, and pycocotools as the oracle for them."""

import contextlib
import io

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

LOW = (0.1, 0.3)
THRESHOLDS = np.array([*LOW, *np.linspace(0.5, 0.95, 10)])
CLASSES = ("a", "b", "c")
BOX_COLUMNS = ["image_id", "label", "x", "y", "width", "height"]
TRUTH_TYPES = {"x": "f8", "y": "f8", "width": "f8", "height": "f8", "area": "f8", "iscrowd": "bool"}
PREDICTED_TYPES = {"x": "f8", "y": "f8", "width": "f8", "height": "f8", "score": "f8"}

PLACES = st.sampled_from([0.0, 4.0, 10.0, 10.5])
SIDES = st.sampled_from([8.0, 20.0, 32.0, 40.0, 96.0, 130.0])
SCORES = st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.9, 1.0])


def truth_table(rows):
    columns = [*BOX_COLUMNS, "area", "iscrowd"]
    return pd.DataFrame(rows, columns=columns).astype({"image_id": "str", "label": "str", **TRUTH_TYPES})


def predicted_table(rows):
    columns = [*BOX_COLUMNS, "score"]
    return pd.DataFrame(rows, columns=columns).astype({"image_id": "str", "label": "str", **PREDICTED_TYPES})


@st.composite
def detection_cases(draw, max_images=4, classes=CLASSES):
    """Truth, detections (many of them on true boxes), image ids, classes: with ties, crowds, empty images."""
    names = list(classes[: draw(st.integers(1, len(classes)))])
    ids = [f"i{number}" for number in range(draw(st.integers(1, max_images)))]
    box = st.tuples(st.sampled_from(ids), st.sampled_from(names), PLACES, PLACES, SIDES, SIDES)
    truth = []
    for image, label, x, y, width, height in draw(st.lists(box, max_size=7)):
        area = draw(st.sampled_from([1.0, 0.6])) * width * height
        truth.append((image, label, x, y, width, height, area, draw(st.sampled_from([False, False, False, True]))))
    predicted = [(*one, draw(SCORES)) for one in draw(st.lists(box, max_size=4))]
    if truth:
        for place in draw(st.lists(st.integers(0, len(truth) - 1), max_size=7)):
            image, label, x, y, width, height = truth[place][:6]
            shift = draw(st.sampled_from([0.0, 0.0, 1.0, 3.0]))
            label = draw(st.sampled_from([label, label, names[0]]))
            predicted.append((image, label, x + shift, y, width, height, draw(SCORES)))
    return truth_table(truth), predicted_table(predicted), ids, names


def random_case(seed=0, images=60, boxes=90, false=120, digits=2, patients=15):
    """A case of realistic shape with rounded scores; patients of each image as well."""
    generator = np.random.default_rng(seed)
    ids = np.array([f"s/{number:03d}" for number in range(images)])

    def drawn(count):
        sides = np.exp(generator.normal(4, 0.8, (count, 2)))
        places = generator.uniform(0, 300, (count, 2))
        return generator.choice(ids, count), generator.choice(CLASSES, count), np.hstack([places, sides])

    def table(image, label, sides, **more):
        columns = dict(zip(BOX_COLUMNS[2:], sides.T, strict=True))
        return pd.DataFrame({"image_id": image, "label": label, **columns, **more})

    image, label, sides = drawn(boxes)
    truth = table(image, label, sides, area=sides[:, 2] * sides[:, 3], iscrowd=generator.random(boxes) < 0.05)
    found = generator.random(boxes) < 0.8
    hits = sides[found] + generator.normal(0, 0.06, (found.sum(), 4)) * np.tile(sides[found, 2:], 2)
    other_image, other_label, other_sides = drawn(false)
    predicted = table(
        np.append(image[found], other_image),
        np.append(label[found], other_label),
        np.vstack([hits, other_sides]),
        score=np.append(generator.beta(4, 2, found.sum()), generator.beta(2, 4, false)).round(digits),
    )
    predicted = predicted[(predicted[["width", "height"]] > 0).all(axis=1)]
    patient = [f"p{number}" for number in generator.integers(0, patients, images)]
    frame = pd.DataFrame({"image_id": ids, "patient_id": patient})
    return truth, predicted.sample(frac=1, random_state=seed).reset_index(drop=True), frame, list(CLASSES)


def repeat_images(truth, predicted, ids, counts):
    """The same tables with each image standing there as often as `counts` says, copies side by side."""
    copies = [(name, copy) for name, count in zip(ids, counts, strict=True) for copy in range(int(count))]
    new_ids = [f"{name} copy {copy}" for name, copy in copies]
    tables = []
    for table in (truth, predicted):
        groups = dict(list(table.groupby("image_id")))
        parts = [groups[name].assign(image_id=f"{name} copy {copy}") for name, copy in copies if name in groups]
        tables.append(pd.concat(parts, ignore_index=True) if parts else table.iloc[:0])
    return *tables, new_ids


def run_pycocotools(truth, predicted, ids, classes, thresholds=THRESHOLDS):
    """The accumulated evaluation of pycocotools; images and classes numbered in their order."""
    image = {name: number for number, name in enumerate(ids, start=1)}
    label = {name: number for number, name in enumerate(classes, start=1)}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in image.values()],
            "categories": [{"id": number, "name": name} for name, number in label.items()],
            "annotations": [
                {
                    "id": number,
                    "image_id": image[row.image_id],
                    "category_id": label[row.label],
                    "bbox": [row.x, row.y, row.width, row.height],
                    "area": getattr(row, "area", row.width * row.height),
                    "iscrowd": int(getattr(row, "iscrowd", False)),
                }
                for number, row in enumerate(truth.itertuples(), start=1)
            ],
        }
        coco.createIndex()
        found = COCO()
        found.dataset = {
            **coco.dataset,
            "annotations": [
                {
                    "id": number,
                    "image_id": image[row.image_id],
                    "category_id": label[row.label],
                    "bbox": [row.x, row.y, row.width, row.height],
                    "area": row.width * row.height,
                    "iscrowd": 0,
                    "score": row.score,
                }
                for number, row in enumerate(predicted.itertuples(), start=1)
            ],
        }
        found.createIndex()
        evaluation = COCOeval(coco, found, "bbox")
        evaluation.params.iouThrs = np.array(thresholds)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def coco_values(evaluation, classes):
    """All metrics as scanline names them, from pycocotools with THRESHOLDS; NaN where it says -1."""
    precision = np.where(evaluation.eval["precision"] < 0, np.nan, evaluation.eval["precision"])[..., -1]
    recall = np.where(evaluation.eval["recall"] < 0, np.nan, evaluation.eval["recall"])[len(LOW) :]
    by_class = {"ap_50_95": precision[len(LOW) :, :, :, 0]}
    for name, place in {"ap_10": 0, "ap_30": 1, "ap_50": 2, "ap_75": 7}.items():
        by_class[name] = precision[place : place + 1, :, :, 0]
    for index, size in enumerate(("small", "medium", "large"), start=1):
        by_class[f"ap_{size}"] = precision[len(LOW) :, :, :, index]
        by_class[f"ar_{size}"] = recall[:, None, :, index, -1]
    for index, limit in enumerate((1, 10, 100)):
        by_class[f"ar_{limit}"] = recall[:, None, :, 0, index]
    values = {}
    for name, cube in by_class.items():
        defined = cube[~np.isnan(cube)]
        values[name] = defined.mean() if len(defined) else np.nan
        for index, label in enumerate(classes):
            values[f"{label}.{name}"] = cube[:, :, index].mean()
    return values
