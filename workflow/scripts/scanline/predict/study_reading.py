"""How the study that a model learnt from read its files, so that other files are read to the same grey."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scanline.core.dicom import MAGIC, MAGIC_PLACE, is_dicom
from scanline.core.errors import InputError
from scanline.core.file_names import is_volume
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import check_options
from scanline.curate.options import Reading

NEXT_STEP = "Give the reading.json of the model's study, results/<study>/curated/reading.json, with --reading."


def holds_values(path: Path) -> bool:
    """Whether a file is a volume or DICOM, whose values become grey by a window or by percentiles."""
    if is_volume(path):
        return True
    try:
        with path.open("rb") as file:
            return is_dicom(file.read(MAGIC_PLACE + len(MAGIC)))
    except OSError:
        return False  # a reject of the prediction, which tells why


def read_study_reading(path: Path | None, model: Path, source: str | None, files: Sequence[Path]) -> Reading:
    """Read how a study's sources are read.

    Args:
        path: The reading.json that merge_sources wrote; None takes that of the results folder in which the model
            stands, and without one no picture is repaired, and a warning says so.
        model: The model.pt.
        source: The source whose way counts; None where all sources share it in what matters.
        files: What is to be read. Of pictures the repairs matter, and of those that `holds_values` the grey scale.

    Returns:
        How to read.

    Raises:
        InputError: If the file is none, has no such source, its sources differ and none is named, or there is no such
            file and the window of DICOM images or volumes is unknown.
    """
    found, with_values = path or _beside(model), [file for file in files if holds_values(file)]
    if found is None:
        if source is not None or with_values:
            raise InputError(
                with_values[0] if with_values else f"--source {source}",
                found="a DICOM image or a volume, and a model of a study unknown" if with_values else "no reading.json",
                expected="how the study reads such files to grey",
                next_step=NEXT_STEP,
            )
        logger.warning("no --reading: pictures are taken as they are stored, whatever training repaired")
        return Reading()
    sources = _sources(found)
    if source is not None:
        if source not in sources:
            raise InputError(
                found,
                found=f"no source {source!r}",
                expected=f"one of {', '.join(sources)}",
                next_step="Mend --source.",
            )
        return sources[source]
    ways = {name: reading if with_values else reading.repairs for name, reading in sources.items()}
    first, *others = sources
    for other in others:
        if ways[other] != ways[first]:
            raise InputError(
                found,
                found=f"sources that are read in different ways: {first} and {other}",
                expected="the one whose files are like these",
                next_step=f"Name it with --source: {', '.join(sources)}.",
            )
    return sources[first]


def _beside(model: Path) -> Path | None:
    folder = next((folder for folder in model.absolute().parents if folder.name == "models"), None)
    path = None if folder is None else folder.parent / "curated/reading.json"
    return path if path is not None and path.exists() else None


def _sources(path: Path) -> dict[str, Reading]:
    values: Any = read_json(path)
    if not isinstance(values, dict) or not values or not all(isinstance(one, dict) for one in values.values()):
        raise InputError(path, found="something else", expected="the reading.json of a study", next_step=NEXT_STEP)
    return {name: check_options(Reading, one, f"{path}: {name}") for name, one in values.items()}
