"""Images of any place through a trained model of any kind: tables, pictures, and what could not be read."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from scanline.core.errors import InputError
from scanline.core.file_names import is_volume
from scanline.core.files import written_aside
from scanline.core.log import progress
from scanline.core.tables import write_table
from scanline.curate.options import Reading
from scanline.predict.image_files import ImageFile, read_or_reason, slices_of
from scanline.predict.image_models import Answer, ImageModel
from scanline.prepare.pixels import resize
from scanline.train.device import choose_device

BATCH_SIZE = 16
MAIN_TABLES = ("per_image", "image_level")  # they name the pictures; a model has one of them
JSON_DIGITS = 6


@dataclass
class Predictions:
    """What was predicted, and what was not.

    Attributes:
        output: The folder that holds it.
        classes: The model's.
        tables: Rows by table.
        positive: Images on which each class is called.
        rejects: Image and reason of those that cannot be read.
        last: The last image with its answer and its pictures' paths, as JSON.
    """

    output: Path
    classes: tuple[str, ...]
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    positive: Counter[str] = field(default_factory=Counter)
    rejects: list[dict[str, str]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """How many were predicted."""
        return sum(len(self.tables[name]) for name in MAIN_TABLES)

    def add(self, file: ImageFile, answer: Answer) -> None:
        """Write the pictures of an image and keep its rows."""
        paths = {kind: f"{kind}/{file.picture}" for kind in answer.pictures}
        for kind, picture in answer.pictures.items():
            with written_aside(self.output / paths[kind]) as aside:
                Image.fromarray(picture).save(aside)
        for name, rows in answer.tables.items():
            named = paths if name in MAIN_TABLES else {}
            self.tables[name] += [{"image": file.name, **row, **named} for row in rows]
        self.positive.update(answer.positive)
        self.last = {**answer.told, **{kind: str(self.output / path) for kind, path in paths.items()}}

    def write(self) -> None:
        """Write the tables as CSV."""
        for name, rows in self.tables.items():
            write_table(pd.DataFrame(rows), self.output / f"{name}.csv")
        if self.rejects:
            write_table(pd.DataFrame(self.rejects), self.output / "rejects.csv")

    def in_one_line(self) -> str:
        """How many images, on how many each class is called, and where the tables are."""
        counts = ", ".join(f"{name} on {self.positive[name]}" for name in self.classes)
        tables = ", ".join(str(self.output / f"{name}.csv") for name in self.tables)
        return f"{self.images} images predicted: {counts}. Tables: {tables}" if self.images else "No image predicted."

    def as_json(self, image: Path) -> str:
        """The one image that was predicted, as a line of JSON."""
        return json.dumps(_rounded({"image": str(image), **self.last}))

    def require_all(self) -> None:
        """Check that every image was predicted.

        Raises:
            InputError: If some could not be read.
        """
        if self.rejects:
            raise InputError(
                self.output / "rejects.csv",
                found=f"{len(self.rejects)} of {self.images + len(self.rejects)} images that cannot be predicted, such "
                f"as {self.rejects[0]['image']} ({self.rejects[0]['reason']})",
                expected="intact images of 8 bits a channel",
                next_step="Mend or convert those it lists; all others are predicted.",
            )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, JSON_DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def check_output(output: Path, inputs: Sequence[Path]) -> None:
    """Check that the output folder is not there yet, or empty, and is not among the images.

    Raises:
        InputError: If it holds something, is a file, or lies in a folder of images.
    """
    if output.is_dir() and any(output.iterdir()):
        found = "a folder with files in it"
    elif output.exists() and not output.is_dir():
        found = "a file"
    elif any(path.is_dir() and output.resolve().is_relative_to(path.resolve()) for path in inputs):
        found = "a place among the images, where the next run would take pictures for images"
    else:
        return
    raise InputError(
        output, found=found, expected="a new or an empty folder elsewhere", next_step="Name another one with --output."
    )


def device_named(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device to compute on.

    Raises:
        InputError: If `cuda` is asked for and there is no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--device cuda",
            found=f"no GPU that PyTorch {torch.__version__} can use",
            expected="a CUDA device",
            next_step="Say --device cpu or auto.",
        )
    return choose_device(name)


def predict_images(
    files: Sequence[ImageFile], model: ImageModel, classes: tuple[str, ...], output: Path, reading: Reading
) -> Predictions:
    """Predict images, batch by batch, and write tables and pictures.

    A file that cannot be read is a reject, and the others are predicted; where it is the only one, it is an error.

    Args:
        files: From `find_images`.
        model: From `load_image_model`.
        classes: Its classes.
        output: Folder to write; see `check_output`.
        reading: How the study reads its files.

    Returns:
        What was written.

    Raises:
        InputError: If the only file cannot be read.
    """
    predictions = Predictions(output, classes)
    batches = _batches(files)
    shown: Iterable[Sequence[ImageFile]] = progress(batches, unit="batch") if len(files) > 1 else batches
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for batch in shown:
            read = pool.map(partial(read_or_reason, reading=reading), [file.path for file in batch])
            intact: list[tuple[ImageFile, NDArray[np.uint8]]] = []
            for file, content in zip(batch, read, strict=True):
                if isinstance(content, str):
                    predictions.rejects.append({"image": file.name, "reason": content})
                else:
                    intact += zip(slices_of(file, len(content)), content, strict=True)
            if len(files) == 1 and not intact:
                _refuse_only(files[0], predictions.rejects[0]["reason"])
            for start in range(0, len(intact), BATCH_SIZE):
                shown_now = intact[start : start + BATCH_SIZE]
                originals = [grey for _, grey in shown_now]
                answers = model(np.stack([resize(grey, model.size_px) for grey in originals]), originals)
                for (file, _), answer in zip(shown_now, answers, strict=True):
                    predictions.add(file, answer)
    predictions.write()
    return predictions


def _batches(files: Sequence[ImageFile]) -> list[Sequence[ImageFile]]:
    """Files that are read at once: a volume by itself, others as many as the model sees at once."""
    batches: list[Sequence[ImageFile]] = []
    for of_volumes, run in groupby(files, lambda file: is_volume(file.path)):
        several, size = list(run), 1 if of_volumes else BATCH_SIZE
        batches += [several[start : start + size] for start in range(0, len(several), size)]
    return batches


def _refuse_only(file: ImageFile, reason: str) -> None:
    raise InputError(
        file.path, found=reason, expected="an intact image of 8 bits a channel", next_step="Mend or convert it."
    )
