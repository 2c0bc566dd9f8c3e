"""DICOM pixels: rescaled, windowed, turned round where white is least; and nothing but the allowed fields is read."""

from contextlib import suppress

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless
from source_folders import dicom

from scanline.core import dicom as module
from scanline.core.dicom import ALLOWED, IDENTITY, decode_dicom, is_dicom
from scanline.core.images import ImageError, Window, windowed

BRAIN = Window(40, 80)
RAMP = np.arange(-20, 100, 5, dtype=np.int16).reshape(4, 6)


def test_values_are_windowed_by_the_sources_window():
    grey, _ = decode_dicom(dicom(RAMP), BRAIN)
    assert grey.dtype == np.uint8
    assert np.array_equal(grey, windowed(RAMP.astype(float), BRAIN))
    assert (grey[RAMP <= 0] == 0).all()
    assert (grey[RAMP >= 80] == 255).all()
    wide, _ = decode_dicom(dicom(RAMP), Window(40, 4000))
    assert 0 < wide.min() < wide.max() < 255


@given(slope=st.sampled_from([0.5, 1, 2]), intercept=st.integers(-2000, 2000))
def test_slope_and_intercept_make_hounsfield_units(slope, intercept):
    stored = np.round((RAMP - intercept) / slope)
    grey, _ = decode_dicom(dicom(stored, RescaleSlope=slope, RescaleIntercept=intercept), BRAIN)
    assert np.array_equal(grey, windowed(stored * slope + intercept, BRAIN))


def test_without_slope_and_intercept_values_are_as_stored():
    plain, _ = decode_dicom(dicom(RAMP, RescaleSlope=None, RescaleIntercept=None), BRAIN)
    assert np.array_equal(plain, decode_dicom(dicom(RAMP), BRAIN)[0])


def test_monochrome1_is_turned_round():
    turned, _ = decode_dicom(dicom(RAMP, PhotometricInterpretation="MONOCHROME1"), BRAIN)
    assert np.array_equal(turned, 255 - decode_dicom(dicom(RAMP), BRAIN)[0])


def test_the_header_is_read_through_the_allow_list(monkeypatch):
    read = []
    open_file = pydicom.dcmread
    monkeypatch.setattr(module.pydicom, "dcmread", lambda *a, **k: read.append(open_file(*a, **k)) or read[-1])
    _, identity = decode_dicom(dicom(RAMP), BRAIN)
    assert {element.keyword for element in read[0]} <= {*ALLOWED, "SpecificCharacterSet"}
    assert "PatientName" not in read[0]
    assert identity == dict(zip(IDENTITY, ("P1", "1.2", "1.2.3", "4"), strict=True))


def test_an_empty_field_says_nothing():
    _, identity = decode_dicom(dicom(RAMP, PatientID=" ", InstanceNumber=None), BRAIN)
    assert set(identity) == {"SeriesInstanceUID", "SOPInstanceUID"}


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"PixelData": None}, "without pixels"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}, "DICOM of colours"),
        ({"PixelData": b"\0" * 20}, "damaged DICOM"),
        ({"Rows": None}, "damaged DICOM"),
        ({"PhotometricInterpretation": None}, "damaged DICOM"),
    ],
)
def test_what_is_no_single_grey_image_is_refused(fields, found):
    with pytest.raises(ImageError, match=found):
        decode_dicom(dicom(RAMP, **fields), BRAIN)


def test_a_compression_that_is_not_decoded_is_told():
    content = dicom(RAMP, syntax=JPEGLSLossless, PixelData=encapsulate([b"compressed"]))
    with pytest.raises(ImageError, match="DICOM compressed in a way that is not decoded here"):
        decode_dicom(content, BRAIN)


@given(st.integers(1, 400))
def test_a_truncated_file_is_refused(length):
    content = dicom(RAMP)
    with pytest.raises(ImageError):
        decode_dicom(content[:-length], BRAIN)


@given(st.dictionaries(st.integers(132, len(dicom(RAMP)) - 1), st.integers(0, 255), min_size=1, max_size=5))
def test_any_damage_is_an_image_error_or_other_pixels(changes):
    content = bytearray(dicom(RAMP))
    for place, value in changes.items():
        content[place] = value
    with suppress(ImageError):
        decode_dicom(bytes(content), BRAIN)


def test_a_file_is_known_by_its_content():
    assert is_dicom(dicom(RAMP))
    assert not is_dicom(b"\x89PNG\r\n\x1a\n" + b"\0" * 200)
