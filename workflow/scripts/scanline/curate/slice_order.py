"""The order of a volume's slices: by their place in space, not by the names of their files."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from scanline.curate.entries import Entry, Header, Reject

SAME_PLACE_MM = 1e-3


def order_slices(entries: Sequence[Entry], headers: Mapping[str, Header | None]) -> tuple[list[Entry], list[Reject]]:
    """Number the slices of each volume of which the layout tells no position, from what their headers say.

    From 0 on along the normal of their plane, where every header has a position and no two have the same; else by
    InstanceNumber, as it stands, and that is noted, a volume a row. A slice without either has no number.

    Args:
        entries: Of a source; those with a slice_index, or a frame, keep it.
        headers: Of DICOM files, by path.
    """
    volumes: dict[str, list[int]] = {}
    for place, entry in enumerate(entries):
        if headers.get(entry.path) is not None and entry.slice_index is None and entry.frame is None:
            volumes.setdefault(entry.volume_id or f"file {entry.path}", []).append(place)
    ordered, notes = list(entries), []
    for places in volumes.values():
        found = [headers[entries[place].path] or Header() for place in places]
        positions = [header.position_mm for header in found]
        numbers = _ranks(positions)
        if numbers is None:
            numbers = [header.instance for header in found]
            if len(places) > 1:
                first = min(entries[place].path for place in places)
                why = "several have the same position" if None not in positions else "headers without a position"
                detail = f"{len(places)} slices of its volume are in the order of InstanceNumber: {why}"
                notes.append(Reject(first, None, "noted", "slices_by_instance_number", detail))
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
