"""Patients, volumes and slices read out of file names, by a pattern that the study file declares."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from scanline.core.errors import InputError

SHOWN = 3


def _with_patient(pattern: str | None) -> str | None:
    if pattern is None:
        return None
    try:
        groups = set(re.compile(pattern).groupindex)
    except re.error as error:
        raise ValueError(f"a regular expression ({error})") from None
    if not {"patient"} <= groups <= {"patient", "volume", "slice"}:
        raise ValueError("a pattern with the group (?P<patient>...), and (?P<volume>...) or (?P<slice>...) if wanted")
    return pattern


NamePattern = Annotated[
    str | None,
    AfterValidator(_with_patient),
    Field(
        description="Pattern that the whole name of each image, without folder and suffix, must match: its group"
        " patient is the patient's id, its groups volume and slice, where it has them, the series and the position in"
        " it. Null: the DICOM header tells, or nothing does."
    ),
]


class Name(NamedTuple):
    """What a file's name says of its image."""

    patient: str | None = None
    volume: str | None = None
    slice_index: int | None = None


def read_names(names: Iterable[tuple[str, str]], pattern: str | None, folder: Path) -> dict[str, Name]:
    """Read the names of a source's images.

    Args:
        names: Pairs of a key, such as the path, and the name without folder and suffix.
        pattern: The source's `layout.name`; None reads nothing.
        folder: The source's folder, for the error.

    Returns:
        Key to what the name says.

    Raises:
        InputError: If a name does not match, has an empty patient, or a slice that is no number; with three such.
    """
    pairs = list(names)
    if pattern is None:
        return {key: Name() for key, _ in pairs}
    compiled = re.compile(pattern)
    found: dict[str, Name] = {}
    wrong: list[str] = []
    for key, name in pairs:
        groups = match.groupdict() if (match := compiled.fullmatch(name)) is not None else {}
        position = groups.get("slice")
        if not groups.get("patient") or not (position is None or position.isdecimal()):
            wrong.append(name)
            continue
        found[key] = Name(groups["patient"], groups.get("volume"), None if position is None else int(position))
    if wrong:
        raise InputError(
            f"{folder}: layout.name",
            found=f"{len(wrong)} of {len(pairs)} image names that do not match, such as"
            f" {', '.join(repr(name) for name in sorted(wrong)[:SHOWN])}",
            expected=f"names that match {pattern}, with a patient, and digits where they have a slice",
            next_step="Mend layout.name in the study file, or rename the files.",
        )
    return found
