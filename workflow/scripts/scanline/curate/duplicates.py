"""Image files of one source with equal bytes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from scanline.curate.entries import Entry
from scanline.curate.inspection import Inspected

DUPLICATE_REASONS = ("duplicate_file", "duplicate_of_another_class")


def find_duplicates(entries: Sequence[Entry], images: Mapping[str, Inspected]) -> dict[str, tuple[str, str]]:
    """The images to refuse because another file of the source has the same bytes.

    Of files with equal labels the first by path stays, with all its images. Where their labels differ nobody can tell
    which is right, and none stays.

    Args:
        entries: Images of the source.
        images: What the scan found of each, by path.

    Returns:
        Path to reason and detail: one of DUPLICATE_REASONS.
    """
    of_file: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: (entry.path, -1 if entry.frame is None else entry.frame)):
        of_file[entry.path].append(entry)
    by_content: dict[str, list[str]] = defaultdict(list)
    for path in of_file:
        content = None if path not in images else images[path].sha256  # an image that only tables tell of has no file
        if content is not None:
            by_content[content].append(path)
    refused: dict[str, tuple[str, str]] = {}
    for same in by_content.values():
        labels = {tuple(tuple(sorted((entry.labels or {}).items())) for entry in of_file[path]) for path in same}
        if len(labels) > 1:
            for path in same:
                others = ", ".join(other for other in same if other != path)
                refused[path] = "duplicate_of_another_class", f"the same bytes as {others}"
        else:
            first, *copies = same
            refused |= dict.fromkeys(copies, ("duplicate_file", f"the same bytes as {first}, which is kept"))
    return refused
