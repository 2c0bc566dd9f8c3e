"""Whether an image file reaches its own end, where its decoder does not ask and would take what is left for whole."""

import struct

PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"  # the last chunk, whole: no other content is allowed in it
GIF_EXTENSION, GIF_IMAGE, GIF_TRAILER = 0x21, 0x2C, 0x3B  # the first byte of a block
BIG_TIFF = 43


def missing_end(form: str | None, content: bytes) -> str | None:
    """What an image file lacks of its end.

    Args:
        form: PNG, GIF or TIFF; nothing is asked of the others, which do not decode when cut.
        content: Of the file, which its decoder took for one of that format.

    Returns:
        What is missing, in words; None where nothing is.
    """
    if form == "PNG" and content.rfind(PNG_END) < 0:
        return "the file ends before its last chunk does"
    if form == "GIF" and not _reaches_trailer(content):
        return "the file ends before its trailer"
    if form == "TIFF" and not _holds_directories(content):
        return "the file ends before its last page"
    return None


def _reaches_trailer(content: bytes) -> bool:
    """Walk the blocks of GIF89a, sections 17 to 27: colour tables, images and extensions in sub-blocks, the trailer."""
    try:
        place = 13 + _colour_table_bytes(content[10])
        while content[place] != GIF_TRAILER:
            if content[place] == GIF_IMAGE:
                place += 11 + _colour_table_bytes(content[place + 9])
            elif content[place] == GIF_EXTENSION:
                place += 2
            else:
                place += 1  # a stray byte: decoders pass over it
                continue
            while content[place]:
                place += content[place] + 1
            place += 1
    except IndexError:
        return False
    return True


def _colour_table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _holds_directories(content: bytes) -> bool:
    """Walk the chain of directories of TIFF 6.0, section 2, or of BigTIFF: one a page, each tells the next's place."""
    order = "<" if content.startswith(b"II") else ">"
    try:
        is_big = struct.unpack_from(f"{order}H", content, 2)[0] == BIG_TIFF
        count_type, offset_type, entry_bytes, first = ("Q", "Q", 20, 8) if is_big else ("H", "I", 12, 4)
        (place,) = struct.unpack_from(order + offset_type, content, first)
        seen: set[int] = set()
        while place and place not in seen:
            seen.add(place)
            (entries,) = struct.unpack_from(order + count_type, content, place)
            behind = place + struct.calcsize(count_type) + entries * entry_bytes
            (place,) = struct.unpack_from(order + offset_type, content, behind)
    except struct.error:
        return False
    return True
