"""Raw files that are on this machine already."""

from pathlib import Path

import pandas as pd

from scanline.acquire.archives import is_archive, unpack_archives
from scanline.acquire.manifest import make_manifest
from scanline.acquire.options import LocalSource
from scanline.core.errors import InputError


def acquire(options: LocalSource) -> pd.DataFrame:
    """List the files of a local source; nothing is copied or changed, but for archives that are to be unpacked.

    Returns:
        Table FILES, without the archives that were unpacked: their content stands for them.

    Raises:
        InputError: If the folder is missing or holds no file, when the next step says how to get the data; or if an
            archive is damaged or not safe.
    """
    folder = Path(options.path)
    if not folder.is_dir():
        raise _not_there(options, "a file" if folder.exists() else "nothing there")
    if options.unpack:
        unpack_archives(folder, options.largest_unpacked_gb)
    files = list_files(options)
    if files.empty:
        raise _not_there(options, "no file in it")
    return files


def list_files(options: LocalSource) -> pd.DataFrame:
    """Table FILES of what lies there, without the archives in the folder itself that were unpacked."""
    return make_manifest(Path(options.path), without=_was_unpacked if options.unpack else None)


def _was_unpacked(path: str) -> bool:
    return "/" not in path and is_archive(path)


def _not_there(options: LocalSource, found: str) -> InputError:
    expected = "a folder of raw files, or a link to one"
    return InputError(options.path, found=found, expected=expected, next_step=options.how_to_get)
