"""What one image's boxes and mask amount to: boxes kept, labels known, rejects written."""

import math
from dataclasses import dataclass, replace

from scanline.curate.entries import Box, Entry, Reject
from scanline.curate.inspection import Inspected
from scanline.curate.options import CurateOptions

ROUNDING_PX = 1e-6  # by how much a box may stand over the edge through floating point alone


@dataclass(frozen=True)
class Verdict:
    """What is kept of an entry.

    Attributes:
        entry: The entry, its mask_path None where the mask was refused.
        boxes: Boxes that hold, each with the study's class.
        labels: Class to true, false, or None for unknown; classes that this source knows nothing of are missing.
        rejects: What was refused or noted.
    """

    entry: Entry
    boxes: tuple[tuple[str, Box], ...]
    labels: dict[str, bool | None]
    rejects: tuple[Reject, ...]


def judge(entry: Entry, size: tuple[int, int] | None, mask: Inspected | None, options: CurateOptions) -> Verdict:
    """Judge the boxes and the mask of an image that decoded, or that only tables tell of.

    Args:
        entry: The image; every class of its boxes is in `options.classes`.
        size: (width, height) of the image in pixels; None where only tables tell of it and none says its size.
        mask: What reading its mask file told; None where it has none.
        options: The source's options.
    """
    kept, suspects, rejects = _judge_boxes(entry, size, options)
    mask_is_missing = options.mask_class is not None and mask is None
    if mask is not None and size is not None:
        of_mask = _judge_mask(entry, size, mask)
        rejects += of_mask
        if any(reject.action == "refused" for reject in of_mask):
            entry, mask = replace(entry, mask_path=None), None
    if entry.labels is not None:
        rejects += _note_boxes_beside_labels(entry, kept, options)
    elif entry.boxes is None and options.annotated_classes:
        unknown = ", ".join(options.annotated_classes)
        rejects.append(_note(entry, "not_annotated", f"it has no usable annotation: {unknown} unknown"))
    labels = _labels_of_boxes(entry, kept, suspects, options)
    if options.mask_class is not None:
        is_outlined = None if mask is None else not mask.is_empty
        labels[options.mask_class] = _either(labels.get(options.mask_class), is_outlined)
        rejects += _note_disagreement(entry, bool(kept), bool(suspects), mask, mask_is_missing)
    return Verdict(entry, tuple(kept), labels, tuple(rejects))


def _judge_boxes(
    entry: Entry, size: tuple[int, int] | None, options: CurateOptions
) -> tuple[list[tuple[str, Box]], set[str], list[Reject]]:
    """Boxes that hold; classes with a box that does not; a reject for each of those."""
    kept: list[tuple[str, Box]] = []
    suspects: set[str] = set()
    rejects: list[Reject] = []
    for index, drawn in enumerate(entry.boxes or ()):
        path, row = drawn.path or entry.annotation_path or entry.path, index if drawn.row is None else drawn.row
        of_size = "unknown size" if size is None else f"{size[0]} x {size[1]}"
        place = f"{_sides(drawn)} in {entry.path} of {of_size}"
        if drawn.label in options.ignored_classes:
            rejects.append(Reject(path, row, "refused", "class_ignored", f"{drawn.label!r}, {place}"))
            continue
        label, box = options.classes[drawn.label], clip_box(drawn, size, options.box_clip_px)
        reason = box_problem(box, size)
        if reason is None:
            kept.append((label, box))
            if box != drawn:
                detail = f"{place} cut at the edge: {_sides(box)}"
                rejects.append(Reject(path, row, "repaired", "box_clipped", detail))
            continue
        suspects.add(label)
        detail = place
        if entry.labels is None:
            detail += f": whether it shows {label} is unknown unless another of its boxes says so"
        rejects.append(Reject(path, row, "refused", reason, detail))
    if entry.doubtful:
        suspects |= set(options.annotated_classes)
    return kept, suspects, rejects


def _sides(box: Box) -> str:
    return f"x {box.x:g}, y {box.y:g}, width {box.width:g}, height {box.height:g}"


def clip_box(box: Box, size: tuple[int, int] | None, most_px: float) -> Box:
    """The box cut at the edges of an image of this (width, height) that it stands over by at most `most_px`.

    A box that stands over an edge by more, or of which nothing is left, is given back as it is.
    """
    sides = (box.x, box.y, box.width, box.height)
    if size is None or not all(math.isfinite(value) for value in sides):
        return box
    left, top = max(box.x, 0.0), max(box.y, 0.0)
    right, bottom = min(box.x + box.width, size[0]), min(box.y + box.height, size[1])
    over = max(-box.x, -box.y, box.x + box.width - size[0], box.y + box.height - size[1])
    if not ROUNDING_PX < over <= most_px or right <= left or bottom <= top:
        return box
    return replace(box, x=left, y=top, width=right - left, height=bottom - top)


def box_problem(box: Box, size: tuple[int, int] | None) -> str | None:
    """Why a box does not hold in an image of this (width, height), as a reject's reason; None where it does.

    In an image of unknown size (None) only the left and top edge can be checked. A box that stands over the image's
    edge is not clipped unless the source says so (`clip_box`): a part outside says that it was drawn on other pixels.
    """
    if box.problem is not None:
        return box.problem
    sides = (box.x, box.y, box.width, box.height)
    if not all(math.isfinite(value) for value in sides):
        return "box_not_a_number"
    if box.width < 0 or box.height < 0:
        return "box_inverted"
    if box.width == 0 or box.height == 0:
        return "box_zero_area"
    width, height = size or (math.inf, math.inf)
    right, bottom = width + ROUNDING_PX, height + ROUNDING_PX
    inside = box.x >= -ROUNDING_PX and box.y >= -ROUNDING_PX
    if not inside or box.x + box.width > right or box.y + box.height > bottom:
        return "box_outside_image"
    return None


def _note_boxes_beside_labels(entry: Entry, kept: list[tuple[str, Box]], options: CurateOptions) -> list[Reject]:
    """Note the classes that have a box and that the table of labels does not name: the table holds."""
    told = {name for name, value in _told(entry, options).items() if value}
    boxed = sorted({label for label, _ in kept} - told)
    return [_note(entry, "box_without_label", f"a box says {name}, its labels do not: they hold") for name in boxed]


def _told(entry: Entry, options: CurateOptions) -> dict[str, bool | None]:
    """What the layout's own table says of the study's classes; of one that several names stand for, any of them."""
    told: dict[str, bool | None] = {}
    for name, value in (entry.labels or {}).items():
        if name not in options.ignored_classes:
            label = options.classes[name]
            before = told.get(label, False)
            told[label] = True if before or value else None if before is None or value is None else False
    return told


def _judge_mask(entry: Entry, size: tuple[int, int], mask: Inspected) -> list[Reject]:
    path = entry.mask_path or entry.path
    if mask.size is None:
        return [Reject(path, entry.frame, "refused", "mask_unreadable", f"{mask.problem}: the image's mask is unknown")]
    if mask.size != size:
        detail = f"{mask.size[0]} x {mask.size[1]}, its image {size[0]} x {size[1]}: the image's mask is unknown"
        return [Reject(path, entry.frame, "refused", "mask_size_differs", detail)]
    if mask.odd_values:
        values = ", ".join(str(value) for value in mask.odd_values)
        detail = f"has grey values such as {values}: all above 0 count"
        return [Reject(path, entry.frame, "noted", "mask_not_binary", detail)]
    return []


def _labels_of_boxes(
    entry: Entry, kept: list[tuple[str, Box]], suspects: set[str], options: CurateOptions
) -> dict[str, bool | None]:
    """True where a box says so, false where annotators looked and drew none, None where nobody can tell.

    Labels that the layout's own table gives hold as they are.
    """
    if entry.labels is not None:
        told = _told(entry, options)
        return {name: told.get(name, False if entry.has_one_class else None) for name in options.annotated_classes}
    if entry.boxes is None:
        return dict.fromkeys(options.annotated_classes)
    present = {label for label, _ in kept}
    return {
        name: True if name in present else None if name in suspects else False for name in options.annotated_classes
    }


def _either(first: bool | None, second: bool | None) -> bool | None:
    if first or second:
        return True
    return None if first is None and second is None else False


def _note_disagreement(
    entry: Entry, has_box: bool, has_suspect: bool, mask: Inspected | None, mask_is_missing: bool
) -> list[Reject]:
    """Note where box and mask say different things; both stay as they are."""
    if entry.boxes is None:
        return []
    if has_box and mask_is_missing:
        return [_note(entry, "box_without_mask_file", "it has a box and no mask file: its mask is unknown")]
    if has_box and mask is not None and mask.is_empty:
        return [_note(entry, "box_and_empty_mask", f"it has a box, and the mask {entry.mask_path} is empty")]
    if not has_box and not has_suspect and mask is not None and not mask.is_empty:
        return [_note(entry, "mask_without_box", f"it has no box, and the mask {entry.mask_path} is not empty")]
    return []


def _note(entry: Entry, reason: str, detail: str) -> Reject:
    return Reject(entry.path, None, "noted", reason, detail)
