"""Files are inspected by quick decoders: they find what Pillow finds."""

import contextlib

import pytest
import simplejpeg
from curate_folders import image_bytes, textured_pixels
from hypothesis import given
from hypothesis import strategies as st

from scanline.core.images import ImageError, decode_image
from scanline.curate.inspection import inspect_image, measure_grey

PIXELS = textured_pixels()
FILES = [
    image_bytes(PIXELS),
    *(
        image_bytes(PIXELS, "JPEG", **options)
        for options in ({}, {"progressive": True}, {"restart_marker_blocks": 4}, {"quality": 100})
    ),
]


def assert_as_by_pillow(folder, content):
    path = folder / "file"
    path.write_bytes(content)
    found = inspect_image(path)
    pixels = None
    with contextlib.suppress(ImageError):
        pixels = decode_image(content)
    assert (found.problem is None) == (pixels is not None)
    if pixels is not None:
        assert found.grey == measure_grey(pixels)
        assert found.size == pixels.shape[::-1]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inspected")


@pytest.mark.parametrize("content", FILES, ids=["png", "baseline", "progressive", "restarts", "best"])
def test_a_whole_file_and_one_cut_anywhere(folder, content):
    assert assert_as_by_pillow(folder, content).problem is None
    for end in range(0, len(content), 7):
        assert assert_as_by_pillow(folder, content[:end]).problem is not None


@given(st.sampled_from(FILES), st.data())
def test_a_changed_byte(folder, content, data):
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    assert_as_by_pillow(folder, bytes(changed))


def test_stray_bytes_between_the_parts_of_a_jpeg_are_passed_over(folder):
    content = FILES[1]
    scan = content.index(b"\xff\xda")
    stray = content[:scan] + b"\x00\x00\x00" + content[scan:]
    with pytest.raises(ValueError, match="extraneous bytes"):
        simplejpeg.decode_jpeg(stray, "GRAY", strict=True)
    assert assert_as_by_pillow(folder, stray).problem is None
