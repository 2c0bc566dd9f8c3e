"""NIfTI volumes, and masks of the source's `mask_class` in NIfTI volumes of the same grid; a slice is an image.

Other files of whole volumes (HDF5, NumPy) fit as well. A slice of a volume with a mask shows the class where the mask
is above 0 on it; of a volume without a mask that is unknown.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, field_validator

from scanline.core.errors import InputError
from scanline.core.options import Options as BaseOptions
from scanline.curate.entries import Entries, Entry, Reject


class Options(BaseOptions):
    """Which files are volumes and masks, and what belongs together."""

    images: str = Field(
        description="Pattern of the volumes' paths, relative to the source's folder, with the group (?P<volume>...),"
        " and (?P<patient>...) where names tell patients."
    )
    masks: str | None = Field(
        default=None, description="Pattern of the masks' paths: its group volume is that of the volume. Null: none."
    )

    @field_validator("images", "masks")
    @classmethod
    def _with_volume(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from None
        if not {"volume"} <= groups <= {"volume", "patient"}:
            raise ValueError("a pattern with the group (?P<volume>...), and (?P<patient>...) if wanted")
        return pattern


def match_frames(folder: Path, frames: Mapping[str, int], options: Options) -> Entries:
    """Take every slice of every volume, with its mask's where there is one.

    A mask of another number of slices is refused, and so is one without a volume, or beside another of its volume.

    Returns:
        Entries by path and frame; rejects; the files that match no pattern.

    Raises:
        InputError: If no file is a volume, or two have one name.
    """
    images = _by_volume(options.images, frames)
    taken = {path for paths in images.values() for path in paths}
    masks = _by_volume(options.masks, [path for path in frames if path not in taken])
    twice = next((paths for paths in images.values() if len(paths) > 1), None)
    if not images or twice:
        raise InputError(
            f"{folder}: layout.images",
            found=f"two files of one volume, {' and '.join(twice[:2])}" if twice else "no volume",
            expected=f"paths that match {options.images}, each volume once",
            next_step="Check the folder, or layout.images in the study file.",
        )
    rejects, entries = list[Reject](), list[Entry]()
    for volume, (path,) in images.items():
        mask = _mask_of(volume, masks.pop(volume, []), frames, frames[path], rejects)
        match = re.fullmatch(options.images, path)
        patient = None if match is None else match.groupdict().get("patient")
        numbers = range(frames[path]) if frames[path] else [None]  # a file that did not decode is one image, refused
        entries += [Entry(path, patient, volume, k, None, mask_path=mask, frame=k) for k in numbers]
    for volume, paths in masks.items():
        rejects += [
            Reject(path, None, "refused", "mask_without_image", f"there is no volume {volume}") for path in paths
        ]
    used = {entry.path for entry in entries} | {entry.mask_path for entry in entries} | {one.path for one in rejects}
    return entries, rejects, [path for path in frames if path not in used]


def _by_volume(pattern: str | None, paths: Mapping[str, int] | list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(paths):
        match = None if pattern is None else re.fullmatch(pattern, path)
        if match is not None:
            found.setdefault(match["volume"], []).append(path)
    return found


def _mask_of(volume: str, paths: list[str], frames: Mapping[str, int], count: int, rejects: list[Reject]) -> str | None:
    if len(paths) == 1 and count and frames[paths[0]] == count:
        return paths[0]
    for path in paths:
        detail = f"{len(paths)} masks of {volume}" if len(paths) > 1 else f"{frames[path]} slices, its volume {count}"
        rejects.append(Reject(path, None, "refused", "mask_unusable", f"{detail}: the volume's mask is unknown"))
    return None
