"""The manifest of a source made anew, after the user changed raw files on purpose."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scanline.acquire.methods import accept, list_files
from scanline.acquire.options import Source
from scanline.core.errors import InputError
from scanline.core.tables import FILES, read_table, write_table

SHOWN = 3


@dataclass(frozen=True)
class Changes:
    """Paths of files that differ between two manifests, each sorted."""

    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def lines(self) -> list[str]:
        """One line a kind of change: how many, and the first of them."""
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return [_line(kind, paths) for kind, paths in kinds.items() if paths]


def _line(kind: str, paths: Sequence[str]) -> str:
    more = ", ..." if len(paths) > SHOWN else ""
    return f"{len(paths):,} {kind}: {', '.join(paths[:SHOWN])}{more}"


def compare_manifests(before: pd.DataFrame, after: pd.DataFrame) -> Changes:
    """What happened to the files between two tables FILES."""
    old, new = (dict(zip(table["path"], table["sha256"], strict=True)) for table in (before, after))
    return Changes(
        added=sorted(new.keys() - old.keys()),
        removed=sorted(old.keys() - new.keys()),
        changed=sorted(path for path in old.keys() & new.keys() if old[path] != new[path]),
    )


def rescan(options: Source, manifest: Path) -> Changes:
    """List a source's files anew; the manifest is written only where something has changed.

    What was changed is taken for what is wanted: no later run fetches an original again.

    Args:
        options: The source.
        manifest: Its manifest, made by the rule acquire_source.

    Returns:
        What has changed since the manifest was made.

    Raises:
        InputError: If there is no manifest yet, or no file.
    """
    if not manifest.exists():
        raise InputError(
            manifest, found="no manifest", expected="one to compare with", next_step=f"Make it: snakemake {manifest}"
        )
    after = list_files(options)
    if after.empty:
        raise InputError(
            options.path,
            found="no file in it",
            expected="raw files",
            next_step=f"To fetch all again, delete {manifest} and run snakemake.",
        )
    changes = compare_manifests(read_table(manifest, FILES), after)
    if changes:
        accept(options, after)
        write_table(after, manifest, FILES)
    return changes
