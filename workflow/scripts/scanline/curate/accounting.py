"""Every file of a source is used, refused or other, and every box of a refused image is a reject: none is lost."""

from collections import Counter
from collections.abc import Collection, Sequence

from scanline.curate.entries import Entry, Reject
from scanline.curate.judge import Verdict

READ_REASONS = ("box_list", "official_list", "file_list")  # of files that an adapter read beside the annotations
# Of whole files that are no image, annotation, mask:
OTHER_REASONS = ("not_in_layout", "patient_table", "label_table", *READ_REASONS)


def refuse_files_of_frames(entries: Sequence[Entry], rejects: Sequence[Reject]) -> list[Reject]:
    """Refuse, as files, those of several images of which each was refused by itself.

    Args:
        entries: The images that were refused.
        rejects: Theirs; that of one image of several has its frame as its row.
    """
    whole = {reject.path for reject in rejects if reject.row is None}
    frames = Counter(entry.path for entry in entries if entry.frame is not None and entry.path not in whole)
    return [
        Reject(path, None, "refused", "file_unusable", f"none of its {count} images can be used")
        for path, count in sorted(frames.items())
    ]


def refuse_orphans(gone: Sequence[Entry], verdicts: Sequence[Verdict], rejects: Sequence[Reject]) -> list[Reject]:
    """Refuse the annotations and masks of refused images, where no kept image shares them, and rows of their boxes.

    Args:
        gone: The images that were refused.
        verdicts: Those that are kept.
        rejects: So far.
    """
    done = {reject.path for reject in rejects if reject.action == "refused" and reject.row is None}
    for verdict in verdicts:
        done |= {path for path in (verdict.entry.annotation_path, verdict.entry.mask_path) if path is not None}
    orphans: list[Reject] = []
    for entry in gone:
        detail = f"its image {entry.path} was refused"
        for path in (entry.annotation_path, entry.mask_path):
            if path is not None and path not in done:
                done.add(path)
                orphans.append(Reject(path, None, "refused", "image_refused", detail))
        orphans += [
            Reject(path, box.row, "refused", "image_refused", detail)
            for box in entry.boxes or ()
            if box.row is not None and (path := box.path or entry.annotation_path) is not None
        ]
    return orphans


def check_nothing_lost(
    files: Collection[str], adapter: str, verdicts: Sequence[Verdict], rejects: Sequence[Reject]
) -> None:
    """Check that each file of the manifest is used, refused or other, and only one of these.

    Args:
        files: Paths of the manifest.
        adapter: Name of the adapter, which is wrong otherwise.
        verdicts: The images that are kept.
        rejects: All of the source.

    Raises:
        RuntimeError: For the first file that is none of these, or several.
    """
    used = {
        path
        for verdict in verdicts
        for path in (verdict.entry.path, verdict.entry.annotation_path, verdict.entry.mask_path)
        if path is not None and (path != verdict.entry.path or path in files)
    }
    aside = [
        reject.path
        for reject in rejects
        if reject.row is None and (reject.action == "refused" or reject.reason in OTHER_REASONS)
    ]
    counts = Counter([*used, *aside])
    counts.subtract(list(files))
    wrong = sorted(path for path, count in counts.items() if count != 0)
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise RuntimeError(f"adapter {adapter} lost or doubled {wrong[0]!r} ({counts[wrong[0]]:+d}){more}")
