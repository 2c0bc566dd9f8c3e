"""A small study's results, drawn by a seeded generator in the formats of the stages; no real data."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from scanline.core.files import write_json
from scanline.core.tables import BOXES, IMAGES, REJECTS, labels_schema, write_table
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.reliability import evaluate_calibration

SIZE = 48
ORIGINAL = (96, 64)
SPLITS = ("grouped", "naive_image")
RUNS = [
    {"split": "grouped", "task": "classify", "kind": "binary", "model": "resnet18", "seed": 42},
    {"split": "grouped", "task": "classify_augmented", "kind": "binary", "model": "resnet18", "seed": 42},
    {"split": "naive_image", "task": "classify", "kind": "binary", "model": "resnet18", "seed": 42},
]
REASON = "no positive image"
FEW_RESAMPLES = EvaluateOptions(bootstrap_resamples=100)


def metric(value: float | None, spread: float = 0.02, reason: str | None = None) -> dict[str, Any]:
    """A metric as metrics.json holds it."""
    if value is None:
        return {"value": None, "low": None, "high": None, "reason": reason or REASON}
    return {"value": value, "low": max(0.0, value - spread), "high": min(1.0, value + spread), "reason": None}


def make_study(folder: Path, patients: int = 20, slices: int = 12) -> dict[str, Path]:
    """Write the curated tables, flow, receipts and pixel cache of the study."""
    rng = np.random.default_rng(5)
    rows, labels, boxes = [], [], []
    for patient in range(patients):
        for number in range(slices):
            image_id = f"source_a/{patient:04d}_{number:02d}"
            bleeds = 3 <= number <= 5
            rows.append(
                {
                    "image_id": image_id,
                    "source": "source_a",
                    "path": f"set/{image_id}.png",
                    "patient_id": f"patient-{patient}",
                    "volume_id": f"volume-{patient}",
                    "slice_index": number,
                    "width": ORIGINAL[0],
                    "height": ORIGINAL[1],
                    "modality": "CT",
                    "sha256": hashlib.sha256(image_id.encode()).hexdigest(),
                    "phash": None,
                    "mask_path": None,
                }
            )
            labels.append(
                {
                    "image_id": image_id,
                    "haemorrhage": bleeds,
                    "perihaematomal_oedema": None if patient == 3 else bleeds,
                }
            )
            if bleeds:
                boxes.append(
                    {
                        "image_id": image_id,
                        "label": "haemorrhage",
                        "x": 40.0,
                        "y": 20.0,
                        "width": 24.0,
                        "height": 16.0,
                    }
                )
    images = pd.DataFrame(rows)
    paths = {name: folder / f"{name}.parquet" for name in ("images", "labels", "boxes", "index", "rejects")} | {
        "pixels": folder / "pixels.npy",
        "flow": folder / "flow.json",
    }
    write_table(images, paths["images"], IMAGES)
    classes = ("haemorrhage", "perihaematomal_oedema")
    write_table(pd.DataFrame(labels), paths["labels"], labels_schema(classes))
    write_table(pd.DataFrame(boxes), paths["boxes"], BOXES)
    write_table(_rejects(), paths["rejects"], REJECTS)
    write_table(pd.DataFrame({"image_id": images["image_id"], "row": range(len(images))}), paths["index"])
    np.save(paths["pixels"], _draw_heads(rng, images))
    n = len(images)
    write_json(
        paths["flow"],
        {
            "sources": {
                "source_a": {
                    "files": 3 * n - 5,
                    "images": n,
                    "annotations": n,
                    "masks": n - 8,
                    "other": 1,
                    "refused": 2,
                    "repaired": 3,
                    "noted": 2,
                    "refused_by_reason": {"damaged": 2},
                }
            }
        },
    )
    for split in SPLITS:
        paths[f"receipt_{split}"] = folder / split / "receipt.json"
        write_json(paths[f"receipt_{split}"], make_receipt(split, n))
    paths["comparison"] = folder / "leakage.json"
    write_json(paths["comparison"], make_comparison())
    return paths


def _draw_heads(rng: np.random.Generator, images: pd.DataFrame) -> Any:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    head = np.hypot((x - 0.5) / 0.42, (y - 0.5) / 0.48)
    base = np.where(head < 0.9, 90, np.where(head < 1, 240, 0))
    pixels = np.clip(base + rng.normal(0, 9, (len(images), SIZE, SIZE)), 0, 255).astype(np.uint8)
    bleeds = images["slice_index"].between(3, 5).to_numpy()
    pixels[bleeds, 16:26, 21:31] = 200
    return pixels


def _rejects() -> pd.DataFrame:
    def row(path: str, action: str, reason: str, detail: str, number: int | None = None) -> dict[str, Any]:
        return {
            "source": "source_a",
            "path": path,
            "row": number,
            "stage": "curate",
            "action": action,
            "reason": reason,
            "detail": detail,
        }

    return pd.DataFrame(
        [
            row("a.png", "refused", "damaged", "truncated <file> & more"),
            row("b.png", "refused", "damaged", "bad checksum"),
            row("013_00.xml", "repaired", "name_digits", "read as patient 13"),
            row("013_01.xml", "repaired", "name_digits", "read as patient 13"),
            row("013_02.xml", "repaired", "name_digits", "read as patient 13"),
            row("c.png", "noted", "box_without_mask", ""),
            row("d.png", "noted", "mask_without_box", ""),
        ]
    )


def make_receipt(split: str, images: int) -> dict[str, Any]:
    """A receipt: grouped keeps patients whole, naive_image does not."""
    naive = split == "naive_image"
    shares = {"train": 0.7, "val": 0.1, "test": 0.2} if naive else {"train": 0.7, "val": 0.15, "test": 0.15}
    subsets = {}
    for place, (name, share) in enumerate(shares.items()):
        count = round(images * share)
        positive = round(count * (0.24 + 0.02 * place))
        oedema = round(count * (0.21 + 0.01 * place))
        subsets[name] = {
            "images": count,
            "groups": 20 if naive else round(20 * share),
            "patients": 20 if naive else round(20 * share),
            "share": count / images,
            "target_share": share,
            "labels": {
                "haemorrhage": {
                    "positive": positive,
                    "negative": count - positive,
                    "unknown": 0,
                    "prevalence": positive / count,
                },
                "perihaematomal_oedema": {
                    "positive": oedema,
                    "negative": count - oedema - 3,
                    "unknown": 3,
                    "prevalence": oedema / (count - 3),
                },
            },
        }
    leak = {"compared": 240, "shared": 20, "test_images": subsets["test"]["images"], "test_images_share": 1.0}
    none = {"compared": 240, "shared": 0, "test_images": 0, "test_images_share": 0.0}
    keys = ("patient_id", "volume_id", "sibling", "sha256", "near_duplicate", "phash", "group_id")
    return {
        "protocol": split,
        "leak_free": not naive,
        "subsets": subsets,
        "leaks": {key: leak if naive and key in {"patient_id", "volume_id", "group_id"} else none for key in keys},
    }


def make_comparison() -> dict[str, Any]:
    """leakage.json for the runs of this study."""
    base = {"accuracy": 0.931, "f1": 0.874, "auroc": 0.961}
    rows = []
    for run in RUNS:
        naive = run["split"] == "naive_image"
        values = {name: metric(value + (0.03 if naive else 0.0)) for name, value in base.items()}
        rows.append(
            {
                **run,
                "protocol": run["split"],
                "leaking_test_images_share": 1.0 if naive else 0.0,
                "metrics": values,
            }
        )
    difference = {name: {"value": 0.03, "low": -0.004, "high": 0.06} for name in base}
    differences = [
        {
            "task": "classify",
            "model": "resnet18",
            "seed": 42,
            "from": "grouped",
            "to": "naive_image",
            "metrics": difference,
        }
    ]
    return {"rows": rows, "differences": differences}


def make_run(folder: Path, study: dict[str, Path], seed: int = 1) -> dict[str, Path]:
    """Write the files of one trained and scored model."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        "history": "history.csv",
        "run": "run.json",
        "metrics": "metrics.json",
        "curves": "curves.parquet",
        "per_image": "per_image.parquet",
        "cams": "cams.npz",
    }
    paths = {name: folder / file for name, file in names.items()}
    images = pd.read_parquet(study["images"])
    scored = images[images["patient_id"].isin([f"patient-{n}" for n in range(10, 20)])].reset_index(drop=True)
    truth = scored["slice_index"].between(3, 5).to_numpy()
    probability = 1 / (1 + np.exp(-(rng.normal(0, 1.3, len(scored)) + np.where(truth, 1.8, -2.2))))
    subset = np.where(scored["patient_id"].isin([f"patient-{n}" for n in range(10, 14)]), "val", "test")
    predicted = probability >= 0.4
    outcome = np.select([truth & predicted, ~truth & predicted, truth & ~predicted], ["TP", "FP", "FN"], default="TN")
    patient = [hashlib.sha256(f"salt{name}".encode()).hexdigest()[:12] for name in scored["patient_id"]]
    per_image = pd.DataFrame(
        {
            "image_id": scored["image_id"],
            "patient": patient,
            "subset": subset,
            "truth": truth,
            "probability": probability,
            "predicted": predicted,
            "outcome": outcome,
        }
    )
    write_table(per_image, paths["per_image"])
    write_table(_curves(per_image), paths["curves"])
    write_json(paths["metrics"], make_metrics(per_image))
    losses = pd.DataFrame({"epoch": range(1, 9)})
    losses["train_loss"] = 0.6 * 0.72 ** losses["epoch"] + 0.02
    losses["val_loss"] = 0.55 * 0.75 ** losses["epoch"] + 0.004 * (losses["epoch"] - 5).clip(lower=0) ** 2 + 0.08
    losses["learning_rate"], losses["seconds"] = 1e-3, 1.5
    losses["is_best"] = losses["val_loss"] == losses["val_loss"].min()
    losses.to_csv(paths["history"], index=False)
    write_json(paths["run"], make_run_facts(int(losses.loc[losses["val_loss"].idxmin(), "epoch"])))
    cams = rng.random((len(scored), 2, 2)) * 0.3
    cams[truth, :1, :1] = 1.0
    np.savez(paths["cams"], image_id=scored["image_id"].to_numpy(str), cam=cams.astype(np.float16))
    return paths


def _curves(per_image: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for subset, rows in per_image.groupby("subset"):
        x, y, threshold = roc_curve(rows["truth"], rows["probability"])
        parts.append(pd.DataFrame({"subset": subset, "curve": "roc", "x": x, "y": y, "threshold": threshold}))
        precision, recall, cut = precision_recall_curve(rows["truth"], rows["probability"])
        cut = np.append(cut, np.nan)
        points = {
            "subset": subset,
            "curve": "precision_recall",
            "x": recall,
            "y": precision,
            "threshold": cut,
        }
        parts.append(pd.DataFrame(points))
    return pd.concat(parts, ignore_index=True)


def make_metrics(per_image: pd.DataFrame) -> dict[str, Any]:
    """metrics.json of the per-image table; areas are made up, the rest is counted."""
    subsets = {}
    for subset in ("val", "test"):
        rows = per_image[per_image["subset"] == subset]
        tp, fp, fn, tn = (int((rows["outcome"] == name).sum()) for name in ("TP", "FP", "FN", "TN"))
        recall, specificity, precision = tp / (tp + fn), tn / (tn + fp), tp / (tp + fp)
        f1 = 2 * tp / (2 * tp + fp + fn)
        values = {
            "accuracy": (tp + tn) / len(rows),
            "balanced_accuracy": (recall + specificity) / 2,
            "precision": precision,
            "recall": recall,
            "specificity": specificity,
            "f1": f1,
            "npv": tn / (tn + fn),
            "mcc": 0.71,
            "auroc": 0.961,
            "auprc": 0.933,
            "brier": 0.07,
            "log_loss": 0.21,
            "ece": 0.04,
        }

        def row(p: float, r: float, f: float, support: int) -> dict[str, Any]:
            return {"precision": metric(p), "recall": metric(r), "f1": metric(f), "support": support}

        subsets[subset] = {
            "images": len(rows),
            "patients": int(rows["patient"].nunique()),
            "positives": tp + fn,
            "negatives": tn + fp,
            "confusion": {"tp": tp, "fp": fp, "fn": fn, "tn": tn},
            "metrics": {name: metric(value) for name, value in values.items()},
            "per_class": {
                "positive": row(precision, recall, f1, tp + fn),
                "negative": row(0.95, specificity, 0.94, tn + fp),
                "macro": row(0.9, 0.91, 0.905, len(rows)),
                "weighted": row(0.92, 0.93, 0.925, len(rows)),
            },
            "calibration": evaluate_calibration(
                rows["truth"], rows["probability"], patients=rows["patient"], options=FEW_RESAMPLES
            ),
        }
    group = {"images": 70, "patients": 6, "positives": 18, "warning": None}
    values = {name: metric(0.9) for name in ("recall", "specificity", "auroc")}
    return {
        "threshold": 0.4,
        "threshold_rule": "f1",
        "threshold_from": "val",
        "threshold_target": None,
        "temperature": None,
        "gap": None,
        "subgroups": {
            "test": [
                {
                    "by": "sex",
                    "groups": [
                        {
                            **group,
                            "name": "male",
                            "warning": "few patients: 4 in all (fewer than 30)",
                            "metrics": values,
                        },
                        {**group, "name": "female", "metrics": values},
                    ],
                }
            ]
        },
        "localization": {
            "val": None,
            "test": {
                "measured": 18,
                "undefined": {"the map is zero everywhere": 2},
                "metrics": {
                    "pointing_game": metric(0.81),
                    "pointing_chance": metric(0.06),
                    "mass_inside": metric(0.42),
                    "lesion_share": metric(0.05),
                },
            },
        },
        "interval": {"level": 0.95, "resamples": 500, "clustered_by": "patient_id", "method": "percentile"},
        "subsets": subsets,
    }


def make_run_facts(best_epoch: int) -> dict[str, Any]:
    """run.json of a training."""
    return {
        "architecture": "resnet18",
        "weights": "none",
        "parameters": 11_170_753,
        "epochs": 8,
        "best_epoch": best_epoch,
        "stopped_early": False,
        "seed": 42,
        "device": "cpu",
        "precision": "float32",
        "versions": {"python": "3.13.1", "torch": "2.13.0", "torchvision": "0.28.0"},
        "wall_seconds": 83.2,
        "images_per_second": 412.7,
        "n_train": 168,
        "n_val": 36,
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
    }
