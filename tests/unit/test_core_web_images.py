"""Repairs of pictures from the web: EXIF orientation, animation, 16 bits; nothing without being asked."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image, features

from scanline.acquire.phantoms.web_pictures import FORMS, Picture, encode
from scanline.core.images import REPAIRS, ImageError, decode_image
from scanline.curate.inspection import decode_grey, inspect_image
from scanline.prepare.pixels import load_pixels, resize

PIXELS = np.add.outer(np.arange(24) * 6, np.arange(40) * 2).astype(np.uint8)  # 24 high, 40 wide, no symmetry
# EXIF's orientation to what undoes it on stored pixels, as its definition reads: where row 0 and column 0 lie.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].T,
    8: lambda stored: np.rot90(stored),
}


def content(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def with_orientation(value):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    return content(Image.fromarray(PIXELS), exif=exif)


def animated(form="GIF"):
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    return content(frames[0], form, save_all=True, append_images=frames[1:])


def sixteen_bits(scale=16, shift=100):
    return content(Image.fromarray(PIXELS.astype(np.uint16) * scale + shift))


@pytest.mark.parametrize("value", UPRIGHT)
def test_every_orientation_is_set_upright(value):
    decoded = decode_grey(with_orientation(value), repairs=REPAIRS)
    assert np.array_equal(decoded.pixels, UPRIGHT[value](PIXELS))
    assert decoded.repairs == (() if value == 1 else ("exif_orientation",))


@pytest.mark.parametrize("value", UPRIGHT)
def test_without_the_repair_pixels_stay_as_they_are_stored(value):
    decoded = decode_grey(with_orientation(value))
    assert np.array_equal(decoded.pixels, PIXELS)
    assert decoded.repairs == ()


def test_an_orientation_that_means_nothing_changes_nothing():
    assert decode_grey(with_orientation(9), repairs=REPAIRS).repairs == ()


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PNG"])
def test_of_an_animation_the_first_frame_is_taken_where_it_is_asked_for(form):
    with pytest.raises(ImageError, match="several frames"):
        decode_image(animated(form), ["exif_orientation", "sixteen_bits"])
    decoded = decode_grey(animated(form), repairs=["first_frame"])
    assert np.array_equal(decoded.pixels, PIXELS)
    assert decoded.repairs == ("first_frame",)


def test_sixteen_bits_are_stretched_from_the_least_value_to_the_largest():
    with pytest.raises(ImageError, match="8 bits"):
        decode_image(sixteen_bits(), ["first_frame"])
    decoded = decode_grey(sixteen_bits(), repairs=["sixteen_bits"])
    least, largest = int(PIXELS.min()), int(PIXELS.max())
    expected = np.rint((PIXELS.astype(float) - least) / (largest - least) * 255)
    assert np.array_equal(decoded.pixels, expected)
    assert decoded.repairs == ("sixteen_bits",)


def test_sixteen_bits_of_one_value_are_black():
    flat = content(Image.fromarray(np.full((4, 4), 900, np.uint16)))
    assert not decode_image(flat, REPAIRS).any()


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_every_form_of_the_phantom_is_read_to_its_pixels(form):
    if form[0] == "webp" and not features.check("webp"):
        pytest.skip("Pillow without WebP")
    pixels = decode_image(encode(Picture(PIXELS, form)), REPAIRS)
    loss = np.abs(pixels.astype(int) - PIXELS).max()
    if form[1] == "I;16":
        assert np.corrcoef(pixels.ravel(), PIXELS.ravel())[0, 1] > 0.9999
    else:
        assert loss <= (12 if form[0] in {"jpg", "jpeg", "webp"} or form[1] == "P" else 0)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
def test_avif_is_read_and_set_upright():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = content(Image.fromarray(PIXELS).convert("RGB"), "AVIF", quality=95, exif=exif)
    stored, upright = decode_grey(turned), decode_grey(turned, REPAIRS)
    assert np.abs(stored.pixels.astype(int) - PIXELS).max() <= 12
    assert upright.repairs == ("exif_orientation",)
    assert np.array_equal(upright.pixels, np.rot90(stored.pixels, -1))


def test_a_truncated_animation_is_refused():
    whole = animated()
    with pytest.raises(ImageError):
        decode_image(whole[: len(whole) // 4], REPAIRS)


def test_the_cache_reads_what_curation_measured(tmp_path):
    path = tmp_path / "turned.png"
    path.write_bytes(with_orientation(6))
    found = inspect_image(path, repairs=REPAIRS)
    assert found.size == (24, 40)
    cached = load_pixels(path, 16, repairs=found.repairs)
    assert np.array_equal(cached, resize(np.ascontiguousarray(np.rot90(PIXELS, -1)), 16))
    assert not np.array_equal(cached, load_pixels(path, 16))
