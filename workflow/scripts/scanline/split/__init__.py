"""Stage 3, split: groups that must never be parted, subsets, and the gate that proves them apart.

`split_groups` needs a data frame and nothing else of a study; it is imported when it is asked for, so that a module of
this stage does not depend on all of them.
"""

from importlib import import_module
from typing import Any

__all__ = ["split_groups"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("scanline.split.assign"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
