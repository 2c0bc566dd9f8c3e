"""Evaluation against what one would use instead, in one run on the same work: a table of times and ratios.

    make benchmark-evaluation

The peers are in requirements/test.lock. The scikit-learn loop over 2,000 resamples takes minutes; with --resamples
all loops do fewer.
"""

import argparse
import contextlib
import io
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow/scripts"))

import cv2
import faster_coco_eval
import numpy as np
import pandas as pd
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import ndimage, spatial
from sklearn import metrics as sk
from surface_distance import metrics as surface_distance
from timing import show, timed

from scanline.evaluate.average_precision import CocoMetrics
from scanline.evaluate.bootstrap import CHUNK_CELLS, draw_cluster_weights, resample, seeded_generator
from scanline.evaluate.detection_tables import check_detection_tables
from scanline.evaluate.multilabel import MultilabelMetrics
from scanline.evaluate.ranking import Ranking
from scanline.evaluate.segmentation_cases import measure_overlap
from scanline.evaluate.surfaces import hd95, surface_distances

IMAGES, PATIENTS, LABELS = 25_596, 2_797, 14  # the official test list of NIH ChestX-ray14


def compare_resampled_areas(resamples: int) -> None:
    """AUROC of 14 labels in each of 2,000 patient-clustered resamples."""
    generator = np.random.default_rng(0)
    patient = np.concatenate([np.arange(PATIENTS), generator.integers(0, PATIENTS, IMAGES - PATIENTS)])
    truth = generator.random((IMAGES, LABELS)) < generator.uniform(0.002, 0.24, LABELS)
    score = generator.normal(truth, 1.2).astype(np.float32).astype(np.float64)
    probability, names = 1 / (1 + np.exp(-score)), [f"label{number}" for number in range(LABELS)]
    Ranking(truth[:, 0], score[:, 0], patient).areas(np.ones((1, PATIENTS)))  # compiles

    def draws() -> Any:
        return draw_cluster_weights(PATIENTS, resamples, seeded_generator(0), chunk=CHUNK_CELLS // PATIENTS)

    def ours() -> np.ndarray:
        rankings = [Ranking(truth[:, label], score[:, label], patient) for label in range(LABELS)]
        parts = [[ranking.areas(weights)[0] for ranking in rankings] for weights in draws()]
        return np.concatenate([np.stack(part, axis=1) for part in parts])

    def numpy_sorted_once() -> np.ndarray:
        areas = np.empty((resamples, LABELS))
        orders = [np.argsort(-score[:, label], kind="stable") for label in range(LABELS)]
        row = 0
        for weights in draws():
            for one in weights:
                of_images = one[patient]
                for label, order in enumerate(orders):
                    weight, positive = of_images[order], truth[order, label]
                    negatives = np.cumsum(np.where(positive, 0.0, weight))
                    positives = np.where(positive, weight, 0.0)
                    below = negatives[-1] - negatives
                    areas[row, label] = positives @ below / (positives.sum() * negatives[-1])
                row += 1
        return areas

    def scikit_learn() -> np.ndarray:
        areas = np.empty((resamples, LABELS))
        images_of = [np.flatnonzero(patient == one) for one in range(PATIENTS)]
        row = 0
        for weights in draws():
            for one in weights:
                rows = np.concatenate([np.tile(images_of[index], int(one[index])) for index in np.flatnonzero(one)])
                for label in range(LABELS):
                    areas[row, label] = sk.roc_auc_score(truth[rows, label], score[rows, label])
                row += 1
        return areas

    results = {
        "scanline.evaluate.ranking (AUROC and AUPRC)": timed(ours, rounds=3),
        "numpy, sorted once, one resample after another (AUROC)": timed(numpy_sorted_once),
        "scikit-learn, one resample after another (AUROC)": timed(scikit_learn),
    }
    title = f"AUROC of {LABELS} labels x {IMAGES:,} images, {resamples:,} resamples of {PATIENTS:,} patients"
    show(title, [(name, seconds) for name, (seconds, _) in results.items()])
    mine, *_, theirs = (areas for _, areas in results.values())
    print(f"  largest difference to scikit-learn on any resample: {np.abs(mine - theirs).max():.1e}")
    everything = MultilabelMetrics(truth.astype(float), probability >= 0.5, probability, names, patient)
    seconds, _ = timed(lambda: resample(everything, PATIENTS, resamples, seeded_generator(0)), rounds=2)
    print(f"  all 13 metrics of each label, with macro, micro and weighted averages: {seconds:.2f} s")


def draw_boxes(images: int = 14_000, boxes: int = 20_000, classes: int = 6) -> tuple[dict[str, Any], list[Any]]:
    """Made-up boxes in COCO's format: four fifths of them found a little off, and two false alarms an image."""
    generator = np.random.default_rng(0)
    image, label = generator.integers(0, images, boxes), generator.integers(0, classes, boxes)
    size, corner = np.exp(generator.normal(4, 0.7, (boxes, 2))), generator.uniform(0, 800, (boxes, 2))
    found = generator.random(boxes) < 0.8
    error = generator.normal(0, 0.12, (found.sum(), 4))
    near = np.column_stack([corner[found] + error[:, :2] * size[found], size[found] * np.exp(error[:, 2:])])
    false = np.column_stack(
        [generator.uniform(0, 800, (2 * images, 2)), np.exp(generator.normal(4, 0.7, (2 * images, 2)))]
    )
    of_images = np.concatenate([image[found], generator.integers(0, images, 2 * images)])
    of_labels = np.concatenate([label[found], generator.integers(0, classes, 2 * images)])
    scores = np.concatenate([generator.beta(4, 2, found.sum()), generator.beta(1.5, 4, 2 * images)])
    truth = {
        "info": {},
        "images": [{"id": number + 1, "width": 1024, "height": 1024} for number in range(images)],
        "categories": [{"id": number + 1, "name": f"class{number}"} for number in range(classes)],
        "annotations": [
            {
                "id": number + 1,
                "image_id": int(image[number]) + 1,
                "category_id": int(label[number]) + 1,
                "bbox": [*corner[number].tolist(), *size[number].tolist()],
                "area": float(size[number].prod()),
                "iscrowd": 0,
            }
            for number in range(boxes)
        ],
    }
    results = [
        {"image_id": int(one) + 1, "category_id": int(name) + 1, "bbox": box, "score": float(score)}
        for one, name, box, score in zip(
            of_images, of_labels, np.concatenate([near, false]).tolist(), scores, strict=True
        )
    ]
    return truth, results


def as_table(entries: list[Any]) -> pd.DataFrame:
    """COCO entries as a table of boxes."""
    table = pd.DataFrame([entry["bbox"] for entry in entries], columns=["x", "y", "width", "height"])
    table["image_id"] = [f"image{entry['image_id']}" for entry in entries]
    table["label"] = [f"class{entry['category_id'] - 1}" for entry in entries]
    if "score" in entries[0]:
        table["score"] = [entry["score"] for entry in entries]
    return table


def compare_average_precision(resamples: int) -> None:
    """COCO's AP and AR of 14,000 images: one evaluation by each, and our resamples."""
    truth, results = draw_boxes()
    names = [one["name"] for one in truth["categories"]]
    images = pd.DataFrame({"image_id": [f"image{one['id']}" for one in truth["images"]]})
    images["patient_id"] = [f"patient{number // 5}" for number in range(len(images))]
    tables = check_detection_tables(as_table(truth["annotations"]), as_table(results), images, names)
    one = np.ones((1, tables.cluster_count))
    CocoMetrics(tables)(one)  # compiles

    def by_pycocotools() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = truth
            coco.createIndex()
            evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return float(evaluation.stats[0])

    def by_faster_coco_eval() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = faster_coco_eval.COCO(truth)
            evaluation = faster_coco_eval.COCOeval_faster(coco, coco.loadRes(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return float(evaluation.stats[0])

    def ours() -> float:
        found = check_detection_tables(as_table(truth["annotations"]), as_table(results), images, names)
        values = CocoMetrics(found)(one)
        return float(np.nanmean([values[f"{name}.ap_50_95"][0] for name in names]))

    runs = {
        "scanline.evaluate (IoU 0.1 and 0.3 as well)": timed(ours, rounds=3),
        "faster-coco-eval": timed(by_faster_coco_eval, rounds=2),
        "pycocotools": timed(by_pycocotools),
    }
    title = f"AP and AR of {len(images):,} images, {len(truth['annotations']):,} boxes, {len(results):,} detections"
    show(f"{title}, {len(names)} classes", [(name, seconds) for name, (seconds, _) in runs.items()])
    values = [value for _, value in runs.values()]
    print(f"  largest difference of AP 50-95: {max(values) - min(values):.1e}")
    measure = CocoMetrics(tables)
    seconds, _ = timed(lambda: resample(measure, tables.cluster_count, resamples, seeded_generator(0)))
    print(f"  {resamples:,} resamples of all of it by {tables.cluster_count:,} patients: {seconds:.2f} s")


def draw_masks(count: int = 20) -> list[tuple[np.ndarray, np.ndarray]]:
    """Made-up lesions on 512 x 512 pixels, and the same, moved and grown a little."""
    generator = np.random.default_rng(0)
    pairs = []
    for _ in range(count):
        mask = np.zeros((512, 512), np.uint8)
        for _ in range(int(generator.integers(1, 4))):
            centre, axes = generator.integers(128, 384, 2), generator.integers(8, 60, 2)
            cv2.ellipse(mask, centre.tolist(), axes.tolist(), float(generator.integers(0, 180)), 0, 360, 1, -1)
        moved = np.roll(mask, generator.integers(-8, 9, 2), (0, 1))
        pairs.append((mask > 0, cv2.dilate(moved, np.ones((5, 5))) > 0))
    return pairs


def compare_masks() -> None:
    """Dice with IoU, and HD95, a pair of masks."""
    pairs = draw_masks()

    def by_numpy(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
        tp, total = (truth & predicted).sum(), truth.sum() + predicted.sum()
        return 2 * tp / total, tp / (total - tp)

    def by_scikit_learn(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
        flat = truth.ravel(), predicted.ravel()
        return sk.f1_score(*flat), sk.jaccard_score(*flat)

    def ours(truth: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
        overlap = measure_overlap(truth, predicted)
        return overlap["dice"], overlap["iou"]

    overlaps = {
        "scanline.evaluate (checked; sensitivity, specificity, precision too)": ours,
        "numpy": by_numpy,
        "scikit-learn": by_scikit_learn,
    }
    compare_on_pairs("Dice and IoU of two masks of 512 x 512", overlaps, pairs)

    def surface(mask: np.ndarray) -> np.ndarray:
        return mask ^ ndimage.binary_erosion(mask)

    def by_distance_transform(truth: np.ndarray, predicted: np.ndarray) -> float:
        first, second = surface(truth), surface(predicted)
        directed = (ndimage.distance_transform_edt(~second)[first], ndimage.distance_transform_edt(~first)[second])
        return max(np.percentile(distances, 95) for distances in directed)

    def by_tree(truth: np.ndarray, predicted: np.ndarray) -> float:
        first, second = (np.argwhere(surface(mask)) for mask in (truth, predicted))
        directed = (spatial.cKDTree(second).query(first)[0], spatial.cKDTree(first).query(second)[0])
        return max(np.percentile(distances, 95) for distances in directed)

    def by_surface_distance(truth: np.ndarray, predicted: np.ndarray) -> float:
        distances = surface_distance.compute_surface_distances(truth, predicted, (1.0, 1.0))
        surface_distance.compute_surface_dice_at_tolerance(distances, 1)
        return float(surface_distance.compute_robust_hausdorff(distances, 95))

    def both(truth: np.ndarray, predicted: np.ndarray) -> float:
        distances = surface_distances(truth, predicted)
        distances.surface_dice(1)
        return distances.hausdorff()

    surfaces = {
        "scanline.evaluate, HD95 and surface Dice": both,
        "scanline.evaluate, HD95": hd95,
        "surface-distance, HD95 and surface Dice": by_surface_distance,
        "scipy cKDTree, HD95 of surface pixels": by_tree,
        "scipy distance transform, HD95 of surface pixels": by_distance_transform,
    }
    compare_on_pairs("Surfaces of two masks of 512 x 512", surfaces, pairs)
    largest = max(abs(hd95(*pair) - by_surface_distance(*pair)) for pair in pairs)
    print(f"  largest difference of HD95 to surface-distance: {largest:.1e} px")


def compare_on_pairs(title: str, methods: dict[str, Callable[..., Any]], pairs: list[Any]) -> None:
    """Time each method on all pairs, and show milliseconds a pair."""
    times = []
    for name, method in methods.items():
        method(*pairs[0])
        seconds, _ = timed(lambda method=method: [method(*pair) for pair in pairs], rounds=3)
        times.append((name, seconds / len(pairs)))
    show(title, times, unit="ms", scale=1000)


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resamples", type=int, default=2_000)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # of surface-distance, about scipy's namespaces
    compare_masks()
    compare_average_precision(args.resamples)
    compare_resampled_areas(args.resamples)


if __name__ == "__main__":
    main()
