import numpy as np
import pytest
from curate_folders import image_bytes, textured_pixels
from hypothesis import given
from hypothesis import strategies as st

from scanline.core.images import ImageError, decode_image, read_image

PIXELS = textured_pixels()
PNG = image_bytes(PIXELS)
JPEGS = [
    image_bytes(PIXELS, "JPEG", **options)
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 4}, {"quality": 100})
]


def decode_or_none(content):
    try:
        return decode_image(content)
    except ImageError:
        return None


def test_a_png_decodes_exactly_and_a_missing_file_is_an_image_error(tmp_path):
    (tmp_path / "x.jpg").write_bytes(PNG)
    np.testing.assert_array_equal(read_image(tmp_path / "x.jpg"), PIXELS)
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "y.png")


def test_every_truncation_of_a_png_is_refused():
    assert [end for end in range(len(PNG)) if decode_or_none(PNG[:end]) is not None] == []


@pytest.mark.parametrize("content", JPEGS, ids=["baseline", "progressive", "restarts", "best"])
def test_every_truncation_of_a_jpeg_is_refused(content):
    assert [end for end in range(len(content)) if decode_or_none(content[:end]) is not None] == []


@given(st.integers(0, len(PNG) - 1), st.integers(1, 255))
def test_a_png_with_a_changed_byte_is_refused_or_decodes_to_the_same_pixels(position, change):
    content = bytearray(PNG)
    content[position] ^= change
    pixels = decode_or_none(bytes(content))
    assert pixels is None or np.array_equal(pixels, PIXELS)


def test_every_single_flipped_bit_of_a_png_is_refused():
    for position in range(len(PNG)):
        content = bytearray(PNG)
        content[position] ^= 1 << position % 8
        assert decode_or_none(bytes(content)) is None


def assert_grey_or_refused(content):
    """Any error but ImageError passes through and fails the test."""
    pixels = decode_or_none(content)
    assert pixels is None or (pixels.ndim == 2 and pixels.dtype == np.uint8)


@given(st.sampled_from(JPEGS), st.data())
def test_a_jpeg_with_a_changed_byte_never_ends_in_another_error(content, data):
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    assert_grey_or_refused(bytes(changed))


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\x00"]))
def test_no_bytes_end_in_another_error(content, magic):
    assert_grey_or_refused(magic + content)


def test_more_than_8_bits_a_channel_is_refused_not_clipped():
    with pytest.raises(ImageError, match="more than 8 bits"):
        decode_image(image_bytes(PIXELS.astype(np.uint16) * 200))
