"""Findings whose box or slice was refused: a volume that has one is never taken for a volume without it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from scanline.curate.entries import Entry, Reject
from scanline.curate.inspection import Inspected
from scanline.curate.judge import Verdict
from scanline.curate.options import CurateOptions

Lost = tuple[str, str, bool]  # volume, class of the study, whether it is known to lie on a slice that is no image


def lesions_of_rows(rejects: Iterable[Reject], options: CurateOptions) -> set[Lost]:
    """What refused rows tell of volumes. A class that the source's options do not map says nothing."""
    return {
        (lesion.volume, name, lesion.on_refused_slice)
        for reject in rejects
        for lesion in reject.lesions
        for name in _classes_of(lesion.label, options)
    }


def lesions_of_images(refused: Iterable[tuple[Entry, Inspected | None]], options: CurateOptions) -> set[Lost]:
    """What refused images would have shown of their volumes: by their labels, or else their boxes, and by their masks.

    Args:
        refused: Each with what the scan found of its mask, None without one.
        options: The source's options.
    """
    found: set[Lost] = set()
    for entry, mask in refused:
        if entry.volume_id is None:
            continue
        if entry.labels is not None:
            told: set[str | None] = {name for name, value in entry.labels.items() if value}
        else:
            told = {box.label for box in entry.boxes or ()} | ({None} if entry.doubtful else set())
        names = {name for label in told for name in _classes_of(label, options)}
        if options.mask_class is not None and mask is not None and not mask.is_empty:
            names.add(options.mask_class)
        found |= {(entry.volume_id, name, True) for name in names}
    return found


def _classes_of(label: str | None, options: CurateOptions) -> tuple[str, ...]:
    """The study's class; all that were looked for where the source does not say which; none where it is ignored."""
    if label is None:
        return options.annotated_classes
    return (options.classes[label],) if label in options.classes else ()


def widen_unknown(verdicts: Sequence[Verdict], lost: Iterable[Lost]) -> tuple[list[Verdict], list[Reject]]:
    """Make a class unknown on the slices of a volume that would say that it has none, though one of it was lost.

    Where the lost one may be on any slice, those without the class are unknown. Where it was on a slice that is no
    image, the others were looked at and hold, if one of them shows the class: the volume is one with it. If none does
    they are unknown, and so is the volume.

    Args:
        verdicts: The images that are kept.
        lost: From `lesions_of_rows` and `lesions_of_images`.

    Returns:
        The verdicts in their order; a note for each volume and class that became unknown.
    """
    of_volume: dict[str, list[int]] = defaultdict(list)
    for place, verdict in enumerate(verdicts):
        if verdict.entry.volume_id is not None:
            of_volume[verdict.entry.volume_id].append(place)
    is_elsewhere: dict[tuple[str, str], bool] = {}
    for volume, name, on_refused in lost:
        is_elsewhere[volume, name] = is_elsewhere.get((volume, name), True) and on_refused
    widened, notes = list(verdicts), list[Reject]()
    for (volume, name), elsewhere in sorted(is_elsewhere.items()):
        places = of_volume.get(volume, [])
        negative = [place for place in places if widened[place].labels.get(name) is False]
        if not negative or (elsewhere and any(widened[place].labels.get(name) for place in places)):
            continue
        for place in negative:
            widened[place] = replace(widened[place], labels={**widened[place].labels, name: None})
        path = min(widened[place].entry.path for place in negative)
        detail = f"{name} of volume {volume} was refused with its row or slice: unknown on {len(negative)} slices"
        notes.append(Reject(path, None, "noted", "lesion_lost", detail))
    return widened, notes
