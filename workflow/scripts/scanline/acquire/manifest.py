"""The manifest of a folder of raw files: what is there, how large, and a digest of its bytes."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from scanline.core.errors import InputError
from scanline.core.files import sha256_of_file
from scanline.core.log import progress
from scanline.core.tables import FILES, make_table

LITTER = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "icon\r"})
THREADS = 8


def make_manifest(folder: Path, without: Callable[[str], bool] | None = None) -> pd.DataFrame:
    """List and hash every raw file under `folder`.

    Links are followed. Hidden files (such as .DS_Store) and what operating systems leave behind (Thumbs.db,
    __MACOSX, ...) are no data and are left out.

    Args:
        folder: The raw folder, or a link to it.
        without: Tells by its path below `folder` whether a file is left out; None leaves out none.

    Returns:
        Table FILES: path (relative to `folder`, POSIX separators, sorted), bytes, sha256.

    Raises:
        InputError: If a link leads nowhere or back to a folder that holds it, or a name is not UTF-8.
    """
    paths = sorted(path.relative_to(folder).as_posix() for path in _walk(folder, (folder.resolve(),)))
    if without is not None:
        paths = [path for path in paths if not without(path)]
    with ThreadPoolExecutor(THREADS) as pool:
        rows = pool.map(lambda path: _describe(folder, path), paths)
        return make_table(list(progress(rows, total=len(paths), unit="file")), FILES)


def _walk(folder: Path, holders: tuple[Path, ...]) -> Iterator[Path]:
    """Every regular file under `folder`; `holders` are the resolved folders that lead to it, itself last."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name.lower() in LITTER:
            continue
        _check_name(path)
        if path.is_symlink():
            _check_link(path, holders)
        if path.is_dir():
            yield from _walk(path, (*holders, path.resolve()))
        elif path.is_file():
            yield path


def _check_name(path: Path) -> None:
    try:
        path.name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            path.parent,
            found=f"a file named {os.fsencode(path.name)!r}",
            expected="names in UTF-8",
            next_step="Rename it.",
        ) from error


def _check_link(path: Path, holders: tuple[Path, ...]) -> None:
    if not path.exists():
        found = f"a link to {os.readlink(path)!r}, which is not there"  # noqa: PTH115 - the text of a broken link
    elif path.resolve() in holders:
        found = "a link back to a folder that holds it"
    else:
        return
    raise InputError(path, found=found, expected="a link to a file or folder", next_step="Mend or remove it.")


def _describe(folder: Path, path: str) -> dict[str, object]:
    file = folder / path
    return {"path": path, "bytes": file.stat().st_size, "sha256": sha256_of_file(file)}
