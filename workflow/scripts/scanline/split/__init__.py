"""Stage 3, split: groups that must never be parted, subsets, and the gate that proves them apart.

`split_groups` and `measure_split` need a data frame and nothing else of a study: docs/split.md shows them. They are
imported when they are asked for, so that a module of this stage does not depend on all of them.
"""

from importlib import import_module
from typing import Any

_PLACES = {"split_groups": "scanline.split.assign", "measure_split": "scanline.split.measure"}

__all__ = ["measure_split", "split_groups"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
