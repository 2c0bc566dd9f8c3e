"""Volumes as folders of DICOM files, a folder one series: what holds together, and what is refused at once."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from scanline.core.errors import InputError
from scanline.curate.entries import Header, Reject


def _with_groups(pattern: str) -> str:
    try:
        groups = set(re.compile(pattern).groupindex)
    except re.error as error:
        raise ValueError(f"a regular expression ({error})") from None
    if not groups <= {"patient"}:
        raise ValueError("a pattern without groups but (?P<patient>...)")
    return pattern


VolumePattern = Annotated[
    str,
    AfterValidator(_with_groups),
    Field(
        description="Pattern that the name of each volume's folder must match; its group patient, where it has one, is"
        " the patient's id, else the DICOM header tells. Files in other folders are no part of the layout."
    ),
]


@dataclass(frozen=True)
class Volume:
    """The files of one volume that can be used.

    Attributes:
        name: Of its folder.
        patient: As the folder's name tells; None where it does not.
        paths: Path to InstanceNumber, None where the header has none.
    """

    name: str
    patient: str | None
    paths: dict[str, int | None]


def find_volumes(
    folder: Path, headers: Mapping[str, Header | None], pattern: str
) -> tuple[dict[str, Volume], list[Reject], list[str]]:
    """Sort DICOM files into volumes by their folders.

    Refused are: all files of a folder without a DICOM file, or with those of two series; of each volume the files that
    have no DICOM header, and those that share an InstanceNumber, as nobody can tell which of them is meant by it.

    Args:
        folder: The source's folder, for the error.
        headers: The source's files, None being the header of what is no DICOM file.
        pattern: Of the folders' names.

    Returns:
        Volumes by name; rejects; the files that are in no such folder.

    Raises:
        InputError: If no folder matches, or two of one name do.
    """
    inside: dict[str, list[str]] = {}
    others = []
    for path in sorted(headers):
        parent = PurePosixPath(path).parent
        if re.fullmatch(pattern, parent.name):
            inside.setdefault(str(parent), []).append(path)
        else:
            others.append(path)
    _check_folders(folder, inside, pattern)
    volumes, rejects = {}, list[Reject]()
    for place, paths in inside.items():
        name = PurePosixPath(place).name
        match = re.fullmatch(pattern, name)
        kept, refused = _sort_files(name, paths, headers)
        volumes[name] = Volume(name, None if match is None else match.groupdict().get("patient"), kept)
        rejects += refused
    return volumes, rejects, others


def _check_folders(folder: Path, inside: Mapping[str, list[str]], pattern: str) -> None:
    twice = [name for name, count in Counter(PurePosixPath(place).name for place in inside).items() if count > 1]
    if twice or not inside:
        raise InputError(
            f"{folder}: layout.volume",
            found=f"two folders named {twice[0]}" if twice else "no folder of a volume",
            expected=f"folders that match {pattern}, each name once",
            next_step="Check the folder, or layout.volume in the study file.",
        )


def _sort_files(
    name: str, paths: list[str], headers: Mapping[str, Header | None]
) -> tuple[dict[str, int | None], list[Reject]]:
    """Path to InstanceNumber of the files that can be used, and rejects of the others."""
    found = {path: header for path in paths if (header := headers[path]) is not None}
    series = {header.series for header in found.values() if header.series is not None}
    if not found or len(series) > 1:
        reason = "volume_without_dicom" if not found else "two_series_in_folder"
        detail = f"the folder {name} holds " + ("no DICOM file" if not found else f"{len(series)} series")
        return {}, [Reject(path, None, "refused", reason, f"{detail}: none of it is used") for path in paths]
    rejects = [
        Reject(path, None, "refused", "not_dicom", f"no DICOM file, in the folder of volume {name}")
        for path in paths
        if path not in found
    ]
    numbers = {path: header.instance for path, header in found.items()}
    counts = Counter(number for number in numbers.values() if number is not None)
    for path, number in numbers.items():
        if number is not None and counts[number] > 1:
            detail = f"{counts[number]} files of volume {name} have InstanceNumber {number}"
            rejects.append(Reject(path, None, "refused", "instance_number_twice", detail))
    kept = {path: number for path, number in numbers.items() if number is None or counts[number] == 1}
    return kept, rejects
