"""Self-contained HTML pages: templates, the style sheet and pictures in one file."""

import base64
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scanline.core.errors import InputError
from scanline.core.files import written_aside
from scanline.figures.numbers import (
    format_count,
    format_interval,
    format_metric,
    format_share,
    format_value,
    spell,
)

DIGESTED_FILES = ("base.html.j2", "macros.html.j2", "study.html.j2", "overview.html.j2", "receipt.html.j2", "page.css")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A PNG file inside a page.

    Args:
        source: The file as a data URI.
        width: Width in pixels.
        height: Height in pixels.
        alt: What it shows, in words.
    """

    source: str
    width: int
    height: int
    alt: str


def embed_png(path: Path, alt: str) -> Picture:
    """Read a PNG file into a data URI.

    Raises:
        InputError: If the file is missing or no PNG.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    if not content.startswith(_PNG) or len(content) < 24:
        raise InputError(
            path,
            found="no PNG" if content else "no such file, or an empty one",
            expected="a figure",
            next_step=f"Make it again: snakemake {path}",
        )
    width, height = struct.unpack(">II", content[16:24])
    return Picture("data:image/png;base64," + base64.b64encode(content).decode(), width, height, alt)


def embed_grey(pixels: bytes, width: int, height: int, alt: str) -> Picture:
    """Grey pixels, one byte each, row by row, as a PNG in a data URI."""
    rows = b"".join(b"\0" + pixels[start : start + width] for start in range(0, width * height, width))
    heading = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8-bit grey, not interlaced
    chunks = [(b"IHDR", heading), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = _PNG + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return Picture("data:image/png;base64," + base64.b64encode(content).decode(), width, height, alt)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template of this folder; every value is escaped.

    A name that the template needs and `values` lacks is an error, never an empty place.
    """
    return template_environment().get_template(template).render(values)


def template_environment() -> Environment:
    """Jinja2 with this package's templates and filters; text is escaped, and an unknown name is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": format_count,
        "interval": format_interval,
        "metric": format_metric,
        "share": format_share,
        "number": format_value,
        "spell": spell,
    }
    return environment


def write_page(path: Path, template: str, values: Mapping[str, Any]) -> None:
    """Fill a template and write the page as UTF-8."""
    text = render(template, values)
    with written_aside(path) as aside:
        aside.write_text(text, "utf-8")
