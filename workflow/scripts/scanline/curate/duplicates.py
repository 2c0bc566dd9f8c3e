"""Image files of one source with equal bytes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from scanline.curate.entries import Entry
from scanline.curate.inspection import Inspected


def find_duplicates(entries: Sequence[Entry], images: Mapping[str, Inspected]) -> dict[str, tuple[str, str]]:
    """The images to refuse because another file of the source has the same bytes.

    Of files with equal labels the first by path stays. Where their labels differ nobody can tell which is right, and
    none stays.

    Args:
        entries: Images of the source.
        images: What the scan found of each, by path.

    Returns:
        Path to reason and detail: `duplicate_file`, or `duplicate_of_another_class`.
    """
    by_content: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.path):
        content = images[entry.path].sha256
        if content is not None:
            by_content[content].append(entry)
    refused: dict[str, tuple[str, str]] = {}
    for same in by_content.values():
        labels = {tuple(sorted((entry.labels or {}).items())) for entry in same}
        if len(labels) > 1:
            for entry in same:
                others = ", ".join(other.path for other in same if other is not entry)
                refused[entry.path] = "duplicate_of_another_class", f"the same bytes as {others}"
        else:
            first, *copies = same
            refused |= {
                copy.path: ("duplicate_file", f"the same bytes as {first.path}, which is kept") for copy in copies
            }
    return refused
