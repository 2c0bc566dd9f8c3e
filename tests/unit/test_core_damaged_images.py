"""Damaged image files of every supported format: each decodes or is an ImageError, and nothing else is raised."""

import io
import random
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageSequence, features

from scanline.core.image_ends import missing_end
from scanline.core.images import FORMATS, REPAIRS, ImageError, decode_image

RAMP = np.add.outer(np.arange(24) * 3, np.arange(40))
PIXELS = (RAMP + np.random.default_rng(0).integers(0, 60, RAMP.shape)).astype(np.uint8)
GREY = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS), Image.fromarray(PIXELS[::-1].copy())]
COLOUR = [Image.fromarray(np.stack([one, one[::-1], 255 - one], -1)) for one in (PIXELS, PIXELS[:, ::-1].copy())]
DEEP = Image.fromarray(PIXELS.astype(np.uint16) * 99)
TURNED = Image.Exif()
TURNED[ExifTags.Base.Orientation] = 6
CUTS, FLIPS = 100, 100


def content(images, form, **options):
    file = io.BytesIO()
    several = {"save_all": True, "append_images": images[1:]} if len(images) > 1 else {}
    images[0].save(file, form, **several, **options)
    return file.getvalue()


WHOLE = {
    "gif": content(GREY[:1], "GIF"),
    "gif of 3": content(GREY, "GIF"),
    "gif with colour tables": content([COLOUR[0].quantize(16), COLOUR[1].quantize(8)], "GIF"),
    "tiff": content(GREY[:1], "TIFF"),
    "tiff of 3": content(GREY, "TIFF"),
    "tiff of 3, deflated": content(GREY, "TIFF", compression="tiff_adobe_deflate"),
    "tiff, lzw, turned": content(GREY[:1], "TIFF", compression="tiff_lzw", exif=TURNED),
    "tiff of 16 bits": content([DEEP], "TIFF"),
    "png, turned": content(COLOUR[:1], "PNG", exif=TURNED),
    "png of 3": content(GREY, "PNG"),
    "png of 16 bits": content([DEEP], "PNG"),
    "jpeg, turned": content(COLOUR[:1], "JPEG", exif=TURNED),
    "jpeg of 2": content(COLOUR, "MPO"),
    "jpeg, cmyk": content([COLOUR[0].convert("CMYK")], "JPEG"),
    "bmp": content(COLOUR[:1], "BMP"),
    "bmp of 256 colours": content(GREY[:1], "BMP"),
    "ppm": content(COLOUR[:1], "PPM"),
    "pgm": content(GREY[:1], "PPM"),
    "pgm of 16 bits": content([Image.fromarray(PIXELS.astype(np.int32) * 99)], "PPM"),
}
if features.check("webp"):
    WHOLE["webp, turned"] = content(COLOUR[:1], "WEBP", exif=TURNED)
    WHOLE["webp of 3"] = content(GREY, "WEBP")
if features.check("avif"):
    WHOLE["avif, turned"] = content(COLOUR[:1], "AVIF", exif=TURNED)
    WHOLE["avif of 2"] = content(COLOUR, "AVIF")
SEVERAL = [name for name in WHOLE if name.split(",")[0].endswith((" of 2", " of 3", "tables"))]


def decoded(file, repairs=REPAIRS):
    """Any error but ImageError passes through and fails the test."""
    try:
        pixels = decode_image(file, repairs)
    except ImageError:
        return None
    assert pixels.ndim == 2
    assert pixels.dtype == np.uint8
    return pixels


def cuts(file):
    return [file[:end] for end in range(0, len(file), max(1, len(file) // CUTS))] + [file[:-1]]


def test_every_format_is_among_the_files():
    found = {Image.open(io.BytesIO(file)).format for file in WHOLE.values()} | {"WEBP", "AVIF"}
    assert found - {"MPO"} == set(FORMATS)


def frames(file):
    """Every frame or page."""
    with Image.open(io.BytesIO(file)) as image:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


def is_as_good_as(cut, file):
    """Whether a cut took nothing but what no frame needs, such as padding behind the last one."""
    if len(cut) <= len(file) - 8:
        return False
    return all(np.array_equal(one, other) for one, other in zip(frames(cut), frames(file), strict=True))


@pytest.mark.filterwarnings("ignore")  # Pillow's, of odd metadata
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_was_cut_off_is_refused(name):
    file = WHOLE[name]
    assert decoded(file) is not None
    for repairs in ((), REPAIRS):
        accepted = [cut for cut in cuts(file) if decoded(cut, repairs) is not None]
        assert [len(cut) for cut in accepted if not is_as_good_as(cut, file)] == []


@pytest.mark.filterwarnings("ignore")  # Pillow's, of odd metadata and of sizes
@pytest.mark.parametrize("name", WHOLE)
def test_changed_bytes_decode_or_are_an_image_error(name, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)  # or a changed size takes long to decode
    draw = random.Random(name)
    for number in range(FLIPS):
        changed = bytearray(WHOLE[name])
        for _ in range(draw.choice((1, 1, 3))):
            end = draw.choice((64, 300, len(changed)))
            changed[draw.randrange(min(end, len(changed)))] = draw.randrange(256)
        decoded(bytes(changed), REPAIRS if number % 2 else ())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SEVERAL)
def test_a_truncated_animation_is_refused_wherever_it_was_cut(name):
    """Also between two frames, where what is left is a shorter animation, or an image of one frame."""
    file = WHOLE[name]
    with pytest.raises(ImageError, match="several frames"):
        decode_image(file)
    assert decoded(file) is not None
    accepted = [file[:end] for end in range(0, len(file), 3) if decoded(file[:end], ["first_frame"]) is not None]
    assert [len(cut) for cut in accepted if not is_as_good_as(cut, file)] == []


def test_a_gif_is_whole_where_its_blocks_reach_the_trailer():
    for name in ("gif", "gif of 3", "gif with colour tables"):
        file = WHOLE[name]
        assert missing_end("GIF", file) is None
        assert missing_end("GIF", file + b"trailing") is None
        assert missing_end("GIF", file[:-1] + b"\x00;") is None  # a stray byte before the trailer
        assert all(missing_end("GIF", file[:end]) == "the file ends before its trailer" for end in range(len(file)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("is_big", [False, True])
def test_a_tiff_is_whole_where_every_directory_is(order, is_big):
    magic = b"II" if order == "<" else b"MM"
    if is_big:
        file = magic + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
        file += struct.pack(f"{order}Q20xQ", 1, 52) + struct.pack(f"{order}Q40xQ", 2, 0)
    else:
        file = magic + struct.pack(f"{order}HI", 42, 8)
        file += struct.pack(f"{order}H12xI", 1, 26) + struct.pack(f"{order}H24xI", 2, 0)
    assert missing_end("TIFF", file) is None
    assert missing_end("TIFF", file + b"pixels") is None
    assert all(missing_end("TIFF", file[:end]) == "the file ends before its last page" for end in range(len(file)))


def test_directories_in_a_circle_end():
    assert missing_end("TIFF", b"II" + struct.pack("<HI", 42, 8) + struct.pack("<H12xI", 1, 8)) is None
