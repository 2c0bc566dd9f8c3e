"""The ways to acquire a source: one module a method, found by its name."""

import importlib
from pathlib import Path
from types import ModuleType

import pandas as pd

from scanline.acquire import fetch
from scanline.acquire.fetched_options import FetchedSource
from scanline.acquire.manifest import make_manifest
from scanline.acquire.options import Source


def acquire(options: Source) -> pd.DataFrame:
    """Bring a source's raw files into place by its method, the module `scanline.acquire.<method>`.

    Such a module has `acquire`, or, where it fetches files over HTTP, `remotes_of`, which tells what to fetch.

    Returns:
        Table FILES, the source's manifest.

    Raises:
        InputError: If the source cannot be had; the line says what to do.
    """
    module = _module(options)
    if isinstance(options, FetchedSource):
        return fetch.fetch(options, module.remotes_of(options))
    files: pd.DataFrame = module.acquire(options)
    return files


def list_files(options: Source) -> pd.DataFrame:
    """Table FILES of what lies in a source's folder now; nothing is fetched, drawn or unpacked."""
    module = _module(options)
    if isinstance(options, FetchedSource):
        return fetch.list_files(options, module.remotes_of(options))
    if hasattr(module, "list_files"):
        files: pd.DataFrame = module.list_files(options)
        return files
    return make_manifest(Path(options.path))


def accept(options: Source, files: pd.DataFrame) -> None:
    """Take what lies in a source's folder for what is wanted, so that no later run fetches the original again."""
    module = _module(options)
    if isinstance(options, FetchedSource):
        fetch.accept(options, files)
    elif hasattr(module, "accept"):
        module.accept(options, files)


def _module(options: Source) -> ModuleType:
    return importlib.import_module(f"scanline.acquire.{options.method}")
