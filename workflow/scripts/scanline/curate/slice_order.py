"""The order of a volume's slices: by their place in space, not by the names of their files."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from scanline.curate.entries import Entry, Header, Reject

SAME_PLACE_MM = 1e-3


def order_slices(entries: Sequence[Entry], headers: Sequence[Header | None]) -> tuple[list[Entry], list[Reject]]:
    """Number the slices of each volume of which the layout tells no position, from what their headers say.

    From 0 on along the normal of their plane, where every header has a position and no two have the same. Else by
    InstanceNumber, as it stands; where frames of files are among them, from 0 on by the files' InstanceNumber and path
    and the frames' place in the file. Both are noted, a volume a row. A file without position and number has none.

    Args:
        entries: Of a source; those with a slice_index keep it.
        headers: Of each: its DICOM file's, or its frame's; None where it has none, or one that tells nothing.
    """
    volumes: dict[str, list[int]] = {}
    for place, (entry, header) in enumerate(zip(entries, headers, strict=True)):
        if header is not None and entry.slice_index is None:
            volumes.setdefault(entry.volume_id or f"file {entry.path}", []).append(place)
    ordered, notes = list(entries), []
    for places in volumes.values():
        slices = [(entries[place], headers[place] or Header()) for place in places]
        positions = [header.position_mm for _, header in slices]
        numbers = _ranks(positions)
        if numbers is None:
            has_frames = any(entry.frame is not None for entry, _ in slices)
            numbers = _by_frame(slices) if has_frames else [header.number for _, header in slices]
            if len(places) > 1:
                first = min(entry.path for entry, _ in slices)
                why = "several have the same position" if None not in positions else "headers without a position"
                order, word = ("frames in their files", "frame") if has_frames else ("InstanceNumber", "instance")
                detail = f"{len(places)} slices of its volume are in the order of {order}: {why}"
                notes.append(Reject(first, None, "noted", f"slices_by_{word}_number", detail))
        for place, number in zip(places, numbers, strict=True):
            ordered[place] = replace(ordered[place], slice_index=number)
    return ordered, notes


def _ranks(positions: Sequence[float | None]) -> list[int | None] | None:
    """Rank of each position, from 0; None where one is unknown or two are the same."""
    known = sorted(position for position in positions if position is not None)
    apart = all(after - before > SAME_PLACE_MM for before, after in pairwise(known))
    if len(positions) < 2 or len(known) < len(positions) or not apart:
        return None
    rank = {position: number for number, position in enumerate(known)}
    return [rank[position] for position in positions if position is not None]


def _by_frame(slices: Sequence[tuple[Entry, Header]]) -> list[int | None]:
    """Rank of each slice, from 0, by its file's InstanceNumber, its path and its frame."""
    keys = [(header.number or 0, entry.path, entry.frame or 0) for entry, header in slices]
    rank = {key: number for number, key in enumerate(sorted(keys))}
    return [rank[key] for key in keys]
