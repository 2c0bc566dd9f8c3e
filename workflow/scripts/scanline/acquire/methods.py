"""The ways to acquire a source: one module a method, found by its name."""

import importlib

import pandas as pd

from scanline.acquire.options import LocalSource, PhantomSource, PypiSource


def acquire(options: LocalSource | PhantomSource | PypiSource) -> pd.DataFrame:
    """Bring a source's raw files into place by its method, the module `scanline.acquire.<method>`.

    Returns:
        Table FILES, the source's manifest.

    Raises:
        InputError: If the source cannot be had; the line says what to do.
    """
    module = importlib.import_module(f"scanline.acquire.{options.method}")
    files: pd.DataFrame = module.acquire(options)
    return files
