"""The arithmetic of a download that goes on where it stopped (RFC 9110, sections 13 to 15)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Span:
    """Where the body of an answer belongs.

    Attributes:
        start: Its first byte, counted from the file's beginning.
        total: Size of the whole file in bytes; None where the server does not tell.
    """

    start: int
    total: int | None


def validator_of(headers: Mapping[str, str]) -> str | None:
    """What tells one state of a file from another: its strong ETag, or else the time of its last change."""
    tag = headers.get("ETag")
    if tag is not None and not tag.startswith("W/"):
        return tag
    return headers.get("Last-Modified")


def range_headers(offset: int, validator: str | None) -> dict[str, str]:
    """Headers that ask for a file from byte `offset` on, and for all of it if it has changed since."""
    if not offset or validator is None:
        return {}
    return {"Range": f"bytes={offset}-", "If-Range": validator}


def span_of(status: int, headers: Mapping[str, str], offset: int) -> Span | None:
    """Where an answer's body belongs in a file of which `offset` bytes are there.

    Args:
        status: 200, the whole file, or 206, a part of it.
        headers: The answer's.
        offset: Bytes that are there.

    Returns:
        None for a part that does not join on to what is there.
    """
    length = headers.get("Content-Length", "")
    if status == 200:
        return Span(0, int(length) if length.isdecimal() else None)
    found = CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if status != 206 or found is None:
        return None
    start, last = int(found[1]), int(found[2])
    total = None if found[3] == "*" else int(found[3])
    if start > offset or last < start or (total is not None and last != total - 1):
        return None
    if length.isdecimal() and int(length) != last - start + 1:
        return None
    return Span(start, last + 1 if total is None else total)
