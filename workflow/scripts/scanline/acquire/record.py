"""What is known of the files that were fetched: a small record beside them, in a hidden folder."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scanline.acquire.download import KEPT
from scanline.core.errors import InputError
from scanline.core.files import read_json, write_json
from scanline.core.log import logger

SECONDS_BETWEEN_WRITES = 10.0


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other jobs from fetching into the same folder; a killed job's lock goes with its process."""
    (folder / KEPT).mkdir(parents=True, exist_ok=True)
    with (folder / KEPT / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another job that fetches into %s", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Record:
    """The record of a folder: by file its origin, size and SHA-256, or that the user took it out.

    Args:
        folder: The source's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / KEPT / "record.json"
        values: dict[str, Any] = read_json(self.path) if self.path.exists() else {}
        self.files: dict[str, dict[str, Any]] = values.get("files", {})
        self._before = json.dumps(self.files, sort_keys=True)
        self._written = time.monotonic()

    def keep(self, path: str, origin: str, size: int, sha256: str) -> None:
        """Note a file that is whole and checked."""
        self.files[path] = {"origin": origin, "bytes": size, "sha256": sha256}
        if time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
            self.write()

    def write(self) -> None:
        """Write the record, if anything in it has changed."""
        text = json.dumps(self.files, sort_keys=True)
        if text != self._before:
            write_json(self.path, {"files": self.files})
            self._before = text
        self._written = time.monotonic()

    def is_taken_out(self, path: str) -> bool:
        """Whether the user took a file out, and said so by a rescan."""
        return bool(self.files.get(path, {}).get("taken_out"))


def changed_file(path: Path, found: str, expected: str) -> InputError:
    """The line about a raw file that is not what it should be."""
    return InputError(
        path,
        found=f"SHA-256 {found}",
        expected=expected,
        next_step="Delete it to have it fetched again, or keep your change: make rescan STUDY=<study>",
    )
