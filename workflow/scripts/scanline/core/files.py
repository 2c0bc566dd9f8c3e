"""Files: written aside and renamed, hashed, linked."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from scanline.core.errors import InputError

Placing = Literal["hard_link", "symbolic_link", "copy"]


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block ends without an error.

    The temporary name keeps the suffix, which some writers go by. No half-written file ever stands at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        aside.chmod(0o666 & ~_umask())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_files(paths: Sequence[Path]) -> str:
    """Hexadecimal SHA-256 over the names and contents of files, in the order given."""
    return sha256_of_text("".join(f"{path.name} {sha256_of_file(path)}\n" for path in paths))


def sha256_of_bytes(content: bytes) -> str:
    """Hexadecimal SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_text(text: str) -> str:
    """Hexadecimal SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, values: Any) -> None:
    """Write `values` as indented JSON with sorted keys; a NaN is an error, undefined numbers are null."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n", "utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: If the file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise InputError(
            path, found=str(error), expected="a JSON file", next_step=f"Make it again: snakemake {path}"
        ) from error


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`: a hard link, or a copy where the file system refuses one.

    The time stamp is set to now, since to the workflow the file is new.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(target) as aside:
        aside.unlink()
        try:
            os.link(source, aside)
        except OSError:
            shutil.copyfile(source, aside)
    os.utime(target)


def place_file(source: Path, target: Path, way: Placing) -> None:
    """Give a file a second place; the file itself, its time stamp among it, stays as it is.

    Args:
        source: An existing file.
        target: Where it is to be found too; its folder exists.
        way: `hard_link` (a relative symbolic link where the file system refuses it, as across devices),
            `symbolic_link` (relative) or `copy`.
    """
    if way == "copy":
        shutil.copyfile(source, target)
        return
    if way == "hard_link":
        try:
            os.link(source.resolve(), target)
            return
        except OSError as error:
            if isinstance(error, FileExistsError):
                raise
    target.symlink_to(os.path.relpath(source.resolve(), target.parent.resolve()))
