"""Enhanced multi-frame DICOM: slope, window and place are those of each frame; else nothing of its groups is kept."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from source_folders import curated, dicom, reasons, write

from scanline.core.dicom import ALLOWED, decode_dicom, header_window, read_dicom, rescale_of
from scanline.core.dicom_frames import GROUPS, of_frame
from scanline.core.images import ImageError, Window, windowed
from scanline.prepare.pixels import load_pixels

FRAMES = np.random.default_rng(5).integers(0, 900, (3, 24, 32)).astype(np.int16)
WIDE = Window(400, 2000)
PLACES = (7.0, 0.0, 3.5)  # of the frames in the file


def group(**sequences: dict) -> Dataset:
    found = Dataset()
    for name, elements in sequences.items():
        item = Dataset()
        for element, value in elements.items():
            setattr(item, element, value)
        setattr(found, name, [item])
    return found


def enhanced(own=None, **fields) -> bytes:
    """Three frames out of their order in space, intercept -1024 of all, a window of each."""
    shared = group(
        PixelValueTransformationSequence={"RescaleSlope": 2, "RescaleIntercept": -1024},
        PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        PixelMeasuresSequence={"PixelSpacing": [0.5, 0.25], "SliceThickness": 3},
    )
    shared.PatientName = "ZZNAME^Jane"
    shared.PixelMeasuresSequence[0].PatientID = "ZZINNER"
    own = own or [
        group(
            PlanePositionSequence={"ImagePositionPatient": [0, 0, z]},
            FrameVOILUTSequence={"WindowCenter": 100 * number, "WindowWidth": 501},
            FrameContentSequence={"FrameComments": "ZZCOMMENT"},
        )
        for number, z in enumerate(PLACES)
    ]
    fields = {
        "NumberOfFrames": 3,
        "PixelData": FRAMES.tobytes(),
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": own,
        "RescaleSlope": None,
        "RescaleIntercept": None,
        **fields,
    }
    return dicom(FRAMES[0], **fields)


def test_slope_and_intercept_are_those_of_the_groups():
    content = enhanced()
    for number, frame in enumerate(FRAMES):
        grey, _ = decode_dicom(content, WIDE, number)
        assert np.array_equal(grey, windowed(frame * 2.0 - 1024, WIDE))


def test_a_frames_own_group_comes_before_the_shared_one_and_that_before_the_file():
    own = [group(PixelValueTransformationSequence={"RescaleSlope": 1, "RescaleIntercept": k}) for k in range(3)]
    dataset = read_dicom(enhanced(own, RescaleSlope=9, RescaleIntercept=9))
    assert [rescale_of(of_frame(dataset, number)) for number in range(3)] == [(1, 0), (1, 1), (1, 2)]
    dataset = read_dicom(enhanced(RescaleSlope=9, RescaleIntercept=9))
    assert rescale_of(of_frame(dataset, 1)) == (2, -1024)
    assert header_window(of_frame(dataset, 1)) == Window(99.5, 500)


def test_nothing_else_of_the_groups_is_kept():
    dataset = read_dicom(enhanced())
    inside = {name for names in GROUPS.values() for name in names} | set(GROUPS)
    assert {element.keyword for element in dataset.iterall()} <= {*ALLOWED, *inside, "SpecificCharacterSet"}
    assert "ZZ" not in str(dataset)


def test_frames_are_slices_in_the_order_of_their_places_through_their_own_windows(tmp_path):
    write(tmp_path / "v-1/all.dcm", enhanced())
    tables, _ = curated(tmp_path, "dicom_series", {}, grey_scale="header_window")
    images = tables.images.sort_values("frame_index")
    assert images["slice_index"].tolist() == [2, 0, 1]
    assert images["window_center_hu"].tolist() == [-0.5, 99.5, 199.5]
    assert reasons(tables) == {}
    headers = tables.headers.set_index("image_id").loc[images["image_id"]]
    assert headers["slice_position_mm"].tolist() == list(PLACES)
    assert set(headers["row_spacing_mm"]) == {0.5}
    assert set(headers["slice_thickness_mm"]) == {3}
    for frame, row in zip(FRAMES, images.itertuples(), strict=True):
        window = Window(row.window_center_hu, row.window_width_hu)
        cached = load_pixels(tmp_path / "v-1/all.dcm", 24, window, row.frame_index)
        grey = windowed(frame * 2.0 - 1024, window)
        assert abs(float(cached.mean()) - float(grey.mean())) < 1


@pytest.mark.parametrize("places", [(1.0, 1.0, 2.0), None])
def test_frames_without_a_place_of_their_own_are_in_the_files_order_and_that_is_noted(tmp_path, places):
    own = [group(PlanePositionSequence={"ImagePositionPatient": [0, 0, z]}) for z in places or (0, 0, 0)]
    fields = {} if places else {"PerFrameFunctionalGroupsSequence": None}
    write(tmp_path / "v-1/all.dcm", enhanced(own, ImagePositionPatient=[0, 0, 5], **fields))
    tables, _ = curated(tmp_path, "dicom_series", {})
    assert tables.images["slice_index"].tolist() == [0, 1, 2]
    assert reasons(tables) == {"slices_by_frame_number": 1}


def test_percentiles_are_of_modality_values_where_frames_have_slopes_of_their_own(tmp_path):
    own = [group(PixelValueTransformationSequence={"RescaleSlope": k, "RescaleIntercept": 0}) for k in (1, 2, 4)]
    write(tmp_path / "v-1/all.dcm", enhanced(own))
    tables, _ = curated(tmp_path, "dicom_series", {}, grey_scale="percentiles")
    values = np.stack([frame * float(k) for frame, k in zip(FRAMES, (1, 2, 4), strict=True)])
    low, high = np.percentile(values, (0.5, 99.5), method="inverted_cdf")
    assert set(tables.images["window_width_hu"]) == {high - low}


def test_groups_for_some_frames_only_are_refused():
    with pytest.raises(ImageError, match="3 frames, its header tells of 2"):
        decode_dicom(enhanced([Dataset(), Dataset()]), WIDE, 0)
