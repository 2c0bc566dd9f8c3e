import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanline.train.boxes import (
    corners_from_voc,
    corners_from_xywh,
    corners_from_yolo,
    letterbox,
    scale_boxes,
    voc_from_corners,
    xywh_from_corners,
    yolo_from_corners,
)

SIDE = st.integers(1, 4000)


@st.composite
def images_with_boxes(draw, whole=False):
    """Width, height and corners of up to five boxes within them."""
    width, height = draw(SIDE), draw(SIDE)
    value = (lambda end: st.integers(0, end)) if whole else (lambda end: st.floats(0, end))
    boxes = []
    for _ in range(draw(st.integers(0, 5))):
        x, y = (sorted([draw(value(end)), draw(value(end))]) for end in (width, height))
        boxes.append([x[0], y[0], x[1], y[1]])
    return width, height, np.array(boxes, dtype=np.float64).reshape(-1, 4)


@given(images_with_boxes(whole=True))
def test_voc_and_coco_round_trip_exactly_in_whole_pixels(image):
    _, _, corners = image
    np.testing.assert_array_equal(corners_from_voc(voc_from_corners(corners)), corners)
    np.testing.assert_array_equal(corners_from_xywh(xywh_from_corners(corners)), corners)


@given(images_with_boxes())
def test_all_forms_round_trip(image):
    width, height, corners = image
    for there, back in (
        (voc_from_corners, corners_from_voc),
        (xywh_from_corners, corners_from_xywh),
        (lambda boxes: yolo_from_corners(boxes, width, height), lambda boxes: corners_from_yolo(boxes, width, height)),
    ):
        np.testing.assert_allclose(back(there(corners)), corners, rtol=1e-12, atol=1e-9)


@given(images_with_boxes())
def test_the_forms_name_the_same_box(image):
    width, height, corners = image
    yolo = yolo_from_corners(corners, width, height)
    x, y, wide, high = xywh_from_corners(corners).T
    np.testing.assert_allclose(yolo[:, 0] * width, x + wide / 2, atol=1e-9)
    np.testing.assert_allclose(yolo[:, 1] * height, y + high / 2, atol=1e-9)
    np.testing.assert_allclose(yolo[:, 2:] * [width, height], np.stack([wide, high], axis=1), atol=1e-9)
    assert ((yolo >= 0) & (yolo <= 1 + 1e-12)).all()


def test_forms_by_hand():
    corners = np.array([[9.0, 19.0, 30.0, 60.0]])  # columns 10 to 30 and rows 20 to 60, counted from 1
    assert voc_from_corners(corners).tolist() == [[10, 20, 30, 60]]
    assert xywh_from_corners(corners).tolist() == [[9, 19, 21, 41]]
    assert yolo_from_corners(corners, 100, 200).tolist() == [[0.195, 0.1975, 0.21, 0.205]]


@given(images_with_boxes(), SIDE)
def test_scaling_to_the_cache_and_back(image, size):
    width, height, corners = image
    scaled = scale_boxes(corners, (width, height), (size, size))
    assert ((scaled >= 0) & (scaled <= size * (1 + 1e-12))).all()
    np.testing.assert_allclose(scale_boxes(scaled, (size, size), (width, height)), corners, rtol=1e-12, atol=1e-9)


@given(images_with_boxes(), SIDE)
def test_a_letterbox_holds_the_image_and_is_inverted(image, size):
    width, height, corners = image
    box = letterbox(width, height, size)
    inside = box.apply(corners)
    assert ((inside >= -1e-9) & (inside <= size + 1e-9)).all()
    np.testing.assert_allclose(box.invert(inside), corners, rtol=1e-9, atol=1e-6)
    frame = box.apply([[0, 0, width, height]])[0]
    assert frame[:2] == pytest.approx(size - frame[2:], abs=1e-6)  # centred
    assert max(frame[2:] - frame[:2]) == pytest.approx(size)  # and as large as it can be


def test_a_letterbox_by_hand():
    box = letterbox(640, 480, 320)
    assert (box.scale, box.left, box.top) == (0.5, 0, 40)
    assert box.apply([[10, 20, 110, 220]]).tolist() == [[5, 50, 55, 150]]
