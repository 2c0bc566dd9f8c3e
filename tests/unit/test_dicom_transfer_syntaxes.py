"""Every transfer syntax of which pydicom ships a file: decoded, to the values of an uncompressed twin, or refused."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from scanline.core.dicom import decode_dicom, frame_count, read_dicom, stored_values
from scanline.core.images import ImageError, Window

FILES = Path(pydicom.__file__).parent / "data/test_files"  # those of the wheel; nothing is downloaded
# Compressed file to one with the same pixels, uncompressed; and by how much lossy compression may differ.
TWINS = {
    "MR_small_RLE.dcm": ("MR_small.dcm", 0),
    "MR_small_jp2klossless.dcm": ("MR_small.dcm", 0),
    "MR_small_jpeg_ls_lossless.dcm": ("MR_small.dcm", 0),
    "MR_small_bigendian.dcm": ("MR_small.dcm", 0),
    "MR_small_implicit.dcm": ("MR_small.dcm", 0),
    "MR_small_padded.dcm": ("MR_small.dcm", 0),
    "rtdose_rle.dcm": ("rtdose.dcm", 0),
    "rtdose_expb.dcm": ("rtdose.dcm", 0),
}
# Grey files without a twin: shape, and the least and largest stored value.
ALONE = {
    "CT_small.dcm": ((128, 128), 128, 2191),
    "693_J2KI.dcm": ((512, 512), None, None),
    "J2K_pixelrep_mismatch.dcm": ((512, 512), None, None),
    "JPEG2000.dcm": ((1024, 256), None, None),
    "JPEGLSNearLossless_08.dcm": ((45, 10), 0, 255),
    "JPEGLSNearLossless_16.dcm": ((50, 10), 0, None),
    "image_dfl.dcm": ((512, 512), 0, 255),
    "examples_overlay.dcm": ((300, 484), None, None),
}
COLOURED = (
    "SC_rgb_jpeg.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jls_lossy_line.dcm",
)
REFUSED = {"JPEG-lossy.dcm": "not decoded here", "JPGExtended.dcm": "not decoded here", "MR_truncated.dcm": "damaged"}


def stored(name: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_dicom((FILES / name).read_bytes())
        return stored_values(dataset)


@pytest.mark.parametrize("name", TWINS)
def test_compressed_pixels_are_those_of_the_uncompressed_twin(name):
    twin, most = TWINS[name]
    expected = stored(twin).astype(np.int64)
    assert np.abs(stored(name).astype(np.int64) - expected).max() <= most
    assert expected.std() > 0


@pytest.mark.parametrize("name", ALONE)
def test_files_without_a_twin_decode(name):
    shape, least, largest = ALONE[name]
    values = stored(name)
    assert values.shape == shape
    assert values.std() > 0
    assert least is None or values.min() == least
    assert largest is None or values.max() == largest
    grey, _ = decode_dicom((FILES / name).read_bytes(), Window(float(values.mean()), float(np.ptp(values))))
    assert grey.shape == shape
    assert grey.dtype == np.uint8


@pytest.mark.parametrize("name", COLOURED)
def test_colours_decode_too_and_are_refused_as_colours(name):
    content = (FILES / name).read_bytes()
    assert pydicom.dcmread(BytesIO(content)).pixel_array.ndim == 3  # JPEG, JPEG Lossless, JPEG-LS, JPEG 2000 and RLE
    with pytest.raises(ImageError, match="DICOM of colours"):
        decode_dicom(content, Window())


def test_frames_of_a_compressed_file_are_those_of_the_whole():
    content = (FILES / "rtdose_rle.dcm").read_bytes()
    dataset = read_dicom(content)
    whole = stored_values(dataset)
    assert frame_count(dataset) == len(whole) == 15
    assert all(np.array_equal(stored_values(dataset, number), whole[number]) for number in (0, 7, 14))


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_decode_says_why(name):
    with pytest.raises(ImageError, match=REFUSED[name]):
        decode_dicom((FILES / name).read_bytes(), Window())
