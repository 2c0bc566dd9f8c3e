"""Runs of all four kinds on one split, drawn by a seeded generator in the formats of their evaluations."""

import numpy as np
import pandas as pd

from scanline.core.files import write_json
from scanline.core.tables import write_table
from scanline.evaluate.answers import RunFiles
from scanline.evaluate.task_comparison_options import AnsweringRun, CompareTasksOptions

THRESHOLDS = {"binary": 0.5, "multilabel": 0.45, "detect": 0.4, "segment": 0.6}
TASKS = {"classify": "binary", "multilabel": "multilabel", "detect": "detect", "segment": "segment"}
ANSWERS = {"classify": "bleed", "multilabel": "bleed", "detect": "bleed", "segment": "oedema"}


def make_truth(seed=0, val_patients=6, test_patients=8, slices=6, positive_patients=1.0):
    """Split table, labels table and patients of each image: every image known, and no patient spread over subsets."""
    generator = np.random.default_rng(seed)
    rows = []
    for patient in range(val_patients + test_patients):
        bleeding = patient < positive_patients * (val_patients + test_patients)
        for number in range(slices):
            positive = bleeding and (number == 2 or (number > 2 and generator.random() < 0.4))
            subset = "val" if patient < val_patients else "test"
            rows.append((f"s/{patient:02d}_{number}", f"p{patient}", subset, positive))
    table = pd.DataFrame(rows, columns=["image_id", "patient", "subset", "bleed"])
    split = table[["image_id", "subset"]].assign(group_id=table["patient"], dropped_by=None, reason=None)
    split = split[["image_id", "group_id", "subset", "dropped_by", "reason"]]
    labels = table[["image_id"]].assign(bleed=table["bleed"].astype("boolean"), oedema=pd.array([pd.NA] * len(table)))
    return split, labels.astype({"oedema": "boolean"}), table


def run_of(task, model="net", seed=1, split="grouped"):
    return AnsweringRun(split=split, task=task, kind=TASKS[task.split("_")[0]], model=model, seed=seed)


def make_run(table, run, score):
    """The files of a run whose score for each image is given; a detector's score of 0 means that it found no box."""
    kind = run.kind
    predicted = score >= THRESHOLDS[kind]
    images = table[["image_id", "patient", "subset"]].reset_index(drop=True)
    point = {"threshold": THRESHOLDS[kind]}
    if kind == "multilabel":
        images = images.assign(probability_bleed=score, predicted_bleed=predicted, probability_oedema=0.01)
        images = images.assign(predicted_oedema=False)
        point = {"labels": {"bleed": point, "oedema": {"threshold": 0.3}}}
    elif kind == "detect":
        boxed = score > 0
        images = images.rename(columns={"image_id": "image"}).assign(predicted=predicted)
        images["max_confidence"] = np.where(boxed, np.maximum(score, 0.95), np.nan)  # of a box of another class
        boxes = [
            pd.DataFrame({"image_id": table["image_id"][boxed], "label": label, "score": values[boxed]})
            for label, values in (("bleed", score), ("bleed", score / 2), ("other", np.full(len(score), 0.95)))
        ]
        return RunFiles(run, images, point, pd.concat(boxes, ignore_index=True))
    else:
        images = images.assign(probability=score, predicted=predicted)
    return RunFiles(run, images, point)


def noisy_score(table, seed, noise=0.25):
    generator = np.random.default_rng(seed)
    score = np.clip(np.where(table["bleed"], 0.65, 0.3) + generator.normal(0, noise, len(table)), 0, 1)
    return score.round(2)  # so that there are ties


def make_runs(table, noise=0.25):
    return [
        make_run(table.reset_index(drop=True), run_of(task), noisy_score(table, place, noise))
        for place, task in enumerate(TASKS)
    ]


def options_of(runs, question=None, **scoring):
    question = {"title": "Is there a bleed?", "label": "bleed", "answers": ANSWERS, **(question or {})}
    return CompareTasksOptions.model_validate(
        {
            "questions": {"bleed_on_slice": question},
            "runs": [one.run.model_dump() for one in runs],
            "evaluate": {"bootstrap_resamples": 200, **scoring},
        }
    )


def write_runs(folder, runs, split, labels):
    """Write what the rule's script reads; returns its arguments."""
    words = {name: [] for name in ("images", "points", "detections", "splits")}
    write_table(split, folder / "split.parquet")
    write_table(labels, folder / "labels.parquet")
    for place, one in enumerate(runs):
        write_table(one.images, folder / f"{place}.parquet")
        write_json(folder / f"{place}.json", one.point)
        words["images"].append(folder / f"{place}.parquet")
        words["points"].append(folder / f"{place}.json")
        words["splits"].append(folder / "split.parquet")
        if one.detections is not None:
            write_table(one.detections, folder / f"{place}.boxes.parquet")
            words["detections"].append(folder / f"{place}.boxes.parquet")
    arguments = [str(word) for name, paths in words.items() for word in (f"--{name}", *paths)]
    return [*arguments, "--labels", str(folder / "labels.parquet")]
