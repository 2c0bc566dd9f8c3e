"""What each kind of task says to a question of yes or no about an image: a score, and the answer at its threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scanline.core.files import read_json
from scanline.core.tables import read_table
from scanline.evaluate.inputs import Floats, refuse
from scanline.evaluate.task_comparison_options import AnsweringRun

COLUMNS = ("image_id", "patient", "subset", "score", "predicted")
IMAGE_COLUMN = {"detect": "image"}  # of the table of single images; image_id for other kinds
MAKE_AGAIN = "Delete it and make it again."


@dataclass(frozen=True)
class RunFiles:
    """What the evaluation of one run left.

    Attributes:
        run: Which run.
        images: Its table of single images: per_image.parquet, or image_level.parquet of a detector.
        point: Its operating_point.json.
        detections: Of a detector: detections.parquet with image_id, label, score of every box; None for others.
    """

    run: AnsweringRun
    images: pd.DataFrame
    point: Mapping[str, Any]
    detections: pd.DataFrame | None = None

    @property
    def name(self) -> str:
        """The run in words, for messages."""
        return f"{self.run.task}, {self.run.model}, split {self.run.split}, seed {self.run.seed}"


def read_run_files(
    runs: Sequence[AnsweringRun], images: Sequence[Path], points: Sequence[Path], detections: Sequence[Path]
) -> list[RunFiles]:
    """Read the files of each run.

    Args:
        runs: The runs.
        images: Table of single images of each run, in the runs' order.
        points: operating_point.json of each run.
        detections: detections.parquet of each run of kind detect, and of no other.

    Raises:
        InputError: If the numbers of runs and files differ, or a file cannot be read.
    """
    detecting = [run for run in runs if run.kind == "detect"]
    lists = {"--images": (images, runs), "--points": (points, runs), "--detections": (detections, detecting)}
    for name, (paths, wanted) in lists.items():
        if len(paths) != len(wanted):
            refuse(name, f"{len(paths)} files", f"{len(wanted)}", "Give one file for each such run, in their order.")
    boxes = iter(detections)
    return [
        RunFiles(run, read_table(table), read_json(point), read_table(next(boxes)) if run.kind == "detect" else None)
        for run, table, point in zip(runs, images, points, strict=True)
    ]


def read_answers(files: RunFiles, label: str) -> tuple[pd.DataFrame, float]:
    """The answers of a run by one of its classes.

    Binary classification answers with its probability, multi-label with that of the label, a detector with the
    score of its best box of the class (0 without a box), segmentation with the largest probability of its map. All
    answer yes or no at the threshold that their own evaluation froze on val; a segmentation network by its predicted
    mask.

    Args:
        files: Of the run.
        label: The class.

    Returns:
        COLUMNS by image: patient is a pseudonym, null where unknown; score is from 0 to 1; and the threshold.

    Raises:
        InputError: For a missing column, an image that comes twice, or a score that is not from 0 to 1.
    """
    kind, table = files.run.kind, files.images
    suffix = f"_{label}" if kind == "multilabel" else ""
    key = IMAGE_COLUMN.get(kind, "image_id")
    wanted = [key, "patient", "subset"]
    if kind != "detect":
        wanted += [f"probability{suffix}", f"predicted{suffix}"]
    _require(table, wanted, files.name)
    threshold = _threshold(files, label)
    answers = pd.DataFrame(
        {
            "image_id": table[key].astype("str"),
            "patient": table["patient"].astype("object").where(table["patient"].notna(), None),
            "subset": table["subset"].astype("str"),
        }
    )
    if answers["image_id"].duplicated().any():
        twice = answers.loc[answers["image_id"].duplicated(), "image_id"].iloc[0]
        refuse(f"{files.name}: image {twice}", "two rows", "each image once", MAKE_AGAIN)
    if kind == "detect":
        best = _best_box(files, label).reindex(answers["image_id"]).fillna(0.0)
        score: Floats = np.asarray(best, dtype=np.float64)
        predicted = score >= threshold
    else:
        score = np.asarray(table[f"probability{suffix}"], dtype=np.float64)
        predicted = table[f"predicted{suffix}"].to_numpy(dtype=bool)
    _check_range(score, answers["image_id"], files.name)
    return answers.assign(score=score, predicted=predicted), threshold


def _require(table: pd.DataFrame, columns: list[str], name: str) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        found = ", ".join(map(str, table.columns))
        refuse(f"{name}: columns of single images", found, f"{', '.join(missing)} as well", MAKE_AGAIN)


def _check_range(score: Floats, image_ids: "pd.Series[str]", name: str) -> None:
    wrong = ~((score >= 0) & (score <= 1))
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        refuse(f"{name}: image {image_ids.iloc[place]}", f"score {score[place]}", "a number from 0 to 1", MAKE_AGAIN)


def _threshold(files: RunFiles, label: str) -> float:
    point = files.point
    if files.run.kind == "multilabel":
        labels = point.get("labels", {})
        if label not in labels:
            found = ", ".join(labels) or "no label"
            refuse(f"{files.name}: operating point", found, f"the label {label}", MAKE_AGAIN)
        point = labels[label]
    if not isinstance(point.get("threshold"), int | float):
        refuse(f"{files.name}: operating point", str(point.get("threshold")), "a threshold", MAKE_AGAIN)
    return float(point["threshold"])


def _best_box(files: RunFiles, label: str) -> "pd.Series[float]":
    """The best score of the class on each image that has a box of it."""
    if files.detections is None:
        refuse(files.name, "no table of detections", "that of its predictions", "Give it with --detections.")
    _require(files.detections, ["image_id", "label", "score"], f"{files.name}: detections")
    boxes = files.detections[files.detections["label"] == label]
    return boxes.groupby("image_id")["score"].max()
