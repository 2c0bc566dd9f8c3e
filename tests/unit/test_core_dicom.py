"""DICOM pixels: rescaled, windowed, turned round where white is least; and nothing but the allowed fields is read."""

from contextlib import suppress
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_rescale, apply_windowing
from pydicom.uid import JPEGLSLossless
from source_folders import dicom

from scanline.core import dicom as module
from scanline.core.dicom import ALLOWED, decode_dicom, header_window, is_dicom, read_dicom
from scanline.core.dicom_header import IDENTITY, acquisition_of, instance_number_of, position_of
from scanline.core.identifiers import digest_of_identifier
from scanline.core.images import ImageError, Window, windowed
from scanline.core.tables import HEADER_NUMBERS, HEADER_TERMS

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
    digests = [digest_of_identifier(text) for text in ("P1", "1.2", "1.2.3")]
    assert identity == dict(zip(IDENTITY, digests, strict=True))
    assert instance_number_of(read[0]) == 4
    assert "P1" not in digests


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


def test_a_digest_is_the_same_for_the_same_identifier_alone():
    assert digest_of_identifier("P1 ") == digest_of_identifier("P1") != digest_of_identifier("P2")
    assert len(digest_of_identifier("P1")) == 16


def test_unsigned_values_of_16_bits_and_of_12_bits_keep_their_order():
    values = np.array([[0, 1, 4095], [30000, 40000, 65535]], np.uint16)
    fields = {"PixelRepresentation": 0, "PixelData": values.tobytes()}
    grey, _ = decode_dicom(dicom(values, **fields), Window(32767.5, 65535))
    assert np.array_equal(grey, windowed(values.astype(float), Window(32767.5, 65535)))
    low = values[:1]
    fields = {"PixelRepresentation": 0, "BitsStored": 12, "HighBit": 11, "PixelData": low.tobytes()}
    assert decode_dicom(dicom(low, **fields), Window(2047.5, 4095))[0].tolist() == [[0, 0, 255]]


def test_a_frame_of_several_is_asked_for_by_its_number():
    frames = np.stack([RAMP, RAMP[::-1], RAMP + 20])
    content = dicom(RAMP, NumberOfFrames=3, PixelData=frames.astype("<i2").tobytes())
    for number, frame in enumerate(frames):
        assert np.array_equal(decode_dicom(content, BRAIN, number)[0], windowed(frame.astype(float), BRAIN))
    with pytest.raises(ImageError, match="several frames"):
        decode_dicom(content, BRAIN)
    with pytest.raises(ImageError):
        decode_dicom(content, BRAIN, 3)


@pytest.mark.parametrize(
    ("fields", "black_and_white"),
    [
        ({"WindowCenter": 40, "WindowWidth": 81}, (-0.5, 79.5)),  # PS3.3, C.11.2.1.2.1
        ({"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "LINEAR_EXACT"}, (0, 80)),
        ({"WindowCenter": [50, 9], "WindowWidth": [101, 9]}, (-0.5, 99.5)),  # the first of several
        ({"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "SIGMOID"}, None),
        ({"WindowCenter": 40, "WindowWidth": 1}, None),
        ({"WindowWidth": 80}, None),
        ({}, None),
    ],
)
def test_the_window_of_the_header(fields, black_and_white):
    window = header_window(read_dicom(dicom(RAMP, **fields)))
    if black_and_white is None:
        assert window is None
    else:
        low, high = black_and_white
        assert (window.center_hu - window.width_hu / 2, window.center_hu + window.width_hu / 2) == (low, high)


def test_the_header_window_is_what_pydicom_makes_of_it():
    fields = {"WindowCenter": 40, "WindowWidth": 61, "RescaleIntercept": -5}
    content = dicom(RAMP, **fields)
    dataset = pydicom.dcmread(BytesIO(content))
    values = apply_windowing(apply_rescale(dataset.pixel_array, dataset), dataset)
    low, high = np.iinfo(np.int16).min - 5, np.iinfo(np.int16).max - 5
    expected = (values - low) / (high - low) * 255
    grey, _ = decode_dicom(content, header_window(read_dicom(content)))
    assert np.abs(grey - expected).max() <= 0.51


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_position_is_along_the_normal(axis):
    corner = [5.0, 5.0, 5.0]
    corner[axis] = 12.5
    across, down = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
    fields = {"ImagePositionPatient": corner, "ImageOrientationPatient": [*across, *down]}
    assert position_of(read_dicom(dicom(RAMP, **fields))) == 12.5
    fields["ImageOrientationPatient"] = [*down, *across]
    assert position_of(read_dicom(dicom(RAMP, **fields))) == -12.5
    del fields["ImageOrientationPatient"]
    assert position_of(read_dicom(dicom(RAMP, **fields))) is None


def test_the_headers_table_has_terms_and_no_free_text():
    fields = {"Modality": "MR", "BodyPartExamined": "Jane Doe, left knee", "PixelSpacing": [0.5, 0.25], "EchoTime": 30}
    found = acquisition_of(read_dicom(dicom(RAMP, **fields)))
    assert (found["modality"], found["row_spacing_mm"], found["column_spacing_mm"]) == ("MR", 0.5, 0.25)
    assert found["echo_time_ms"] == 30
    assert "body_part" not in found
    assert set(found) <= {*HEADER_NUMBERS, *HEADER_TERMS}
