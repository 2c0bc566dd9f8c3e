"""Adapters by name. Light: the workflow checks layouts with it while the Snakefile is parsed."""

import difflib
import importlib
from pathlib import Path
from typing import cast

from scanline.core.errors import InputError
from scanline.core.options import Options, check_options
from scanline.curate.entries import AnyAdapter
from scanline.curate.options import CurateOptions

PACKAGE = "scanline.curate.adapters"


def adapter_names() -> list[str]:
    """Names of the adapters there are: the modules in scanline/curate/adapters/."""
    folder = Path(__file__).parent / "adapters"
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def adapter_module(name: str, where: str | Path = "adapter") -> str:
    """Dotted name of an adapter's module; nothing is imported.

    Args:
        name: The adapter as the study file names it.
        where: File and key that name it, for the error.

    Raises:
        InputError: If there is no such adapter; it lists the known ones.
    """
    known = adapter_names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise InputError(
            where,
            found=repr(name),
            expected=f"one of {', '.join(known)}",
            next_step=f"Did you mean {close[0]!r}?" if close else "Name another, or add that module.",
        )
    return f"{PACKAGE}.{name}"


def load_adapter(name: str, where: str | Path = "adapter") -> AnyAdapter:
    """Import an adapter's module.

    Raises:
        InputError: If there is no such adapter.
    """
    return cast(AnyAdapter, importlib.import_module(adapter_module(name, where)))


def check_layout(options: CurateOptions, where: str | Path) -> Options:
    """Check a source's `layout` against its adapter's options.

    Args:
        options: The source's curate options.
        where: File and key of those options, such as `config/studies/x.yaml: sources.x.curate`.

    Returns:
        The adapter's options.

    Raises:
        InputError: If the adapter is unknown, or for the first key of the layout that is wrong.
    """
    adapter = load_adapter(options.adapter, f"{where}.adapter")
    return check_options(adapter.Options, options.layout, f"{where}.layout")
