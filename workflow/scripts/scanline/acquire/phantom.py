"""Raw files that are drawn: a phantom in a study's published layout."""

import importlib
import json
import os
import pkgutil
import tempfile
from pathlib import Path
from types import ModuleType

import pandas as pd

from scanline.acquire import phantoms
from scanline.acquire.manifest import make_manifest
from scanline.acquire.options import PhantomSource
from scanline.core.errors import InputError

MARKER = ".scanline-phantom.json"  # hidden, so no manifest lists it


def acquire(options: PhantomSource) -> pd.DataFrame:
    """Draw the phantom, unless the same one stands there already, and list its files.

    It is drawn beside its folder and renamed when complete. A folder with the marker of another phantom is
    replaced; a folder without a marker is someone else's and is never touched.

    Returns:
        Table FILES.

    Raises:
        InputError: If the layout is unknown, or `path` is there and no phantom.
    """
    folder = Path(options.path)
    layout = _layout(options.layout)
    text = json.dumps({**options.model_dump(), "version": layout.VERSION}, indent=2, sort_keys=True) + "\n"
    if _marker_of(folder) != text:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as aside:
            drawn = Path(aside) / "drawn"
            drawn.mkdir()
            layout.write(drawn, options)
            (drawn / MARKER).write_text(text, "utf-8")
            if os.path.lexists(folder):
                folder.rename(Path(aside) / "replaced")
            drawn.rename(folder)
    return make_manifest(folder)


def _layout(name: str) -> ModuleType:
    """The module of scanline/acquire/phantoms/ that writes a layout: it has `write` and a `VERSION`."""
    known = [module.name for module in pkgutil.iter_modules(phantoms.__path__)]
    layouts = [module for module in known if hasattr(_import(module), "write")]
    if name not in layouts:
        raise InputError(
            "acquire.layout",
            found=repr(name),
            expected=f"one of {', '.join(sorted(layouts))}",
            next_step="Name one of them, or write a module in scanline/acquire/phantoms/.",
        )
    return _import(name)


def _import(name: str) -> ModuleType:
    return importlib.import_module(f"{phantoms.__name__}.{name}")


def _marker_of(folder: Path) -> str | None:
    """The text of the folder's marker; none where there is no folder.

    Raises:
        InputError: If something without a marker stands there.
    """
    if not os.path.lexists(folder):
        return None
    if not (folder / MARKER).is_file():
        raise InputError(
            folder,
            found=f"something that is no phantom (no {MARKER} in it)",
            expected="nothing, or a phantom that was drawn before",
            next_step="Move it away, or name another path for the phantom.",
        )
    return (folder / MARKER).read_text("utf-8")
