"""One logging set-up for all scripts: standard error, which the rules send to their log files."""

import logging
import sys
from collections.abc import Iterable
from typing import NoReturn, TypeVar

from tqdm import tqdm

PRESENTATION_ONLY = True  # what a module like this does never changes a result, so no code digest covers it

T = TypeVar("T")
logger = logging.getLogger("scanline")


def start_logging() -> None:
    """Send log lines of INFO and above to standard error, each with its time."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )


def progress(items: Iterable[T], total: int | None = None, unit: str = "image") -> Iterable[T]:
    """Iterate over `items` with a progress bar that writes a line every 5 s at most."""
    bar: Iterable[T] = tqdm(items, total=total, unit=unit, mininterval=5, ascii=True, dynamic_ncols=False)
    return bar


def progress_of_bytes(total: int | None) -> "tqdm[NoReturn]":
    """A progress bar of bytes, to be updated by hand; it writes a line every 5 s at most."""
    return tqdm(total=total, unit="B", unit_scale=True, mininterval=5, ascii=True, dynamic_ncols=False)
