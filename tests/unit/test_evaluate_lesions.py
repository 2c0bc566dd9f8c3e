"""Lesion-wise counts equal what scipy's labels say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from scanline.core.errors import InputError
from scanline.evaluate.lesions import LesionCounts, count_lesions, label_lesions


def of_scipy(truth, predicted):
    everywhere = np.ones((3,) * truth.ndim)
    true_labels, true_count = ndimage.label(truth, everywhere)
    predicted_labels, predicted_count = ndimage.label(predicted, everywhere)
    found = sum(predicted[true_labels == number].any() for number in range(1, true_count + 1))
    false = sum(not truth[predicted_labels == number].any() for number in range(1, predicted_count + 1))
    return LesionCounts(true_count, found, predicted_count, false)


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]))
def test_counts_equal_those_of_scipy(seed, axes):
    generator = np.random.default_rng(seed)
    shape = generator.integers(1, 16 if axes == 2 else 8, axes)
    truth, predicted = (generator.random(shape) < generator.choice([0, 0.1, 0.3, 0.6]) for _ in range(2))
    assert count_lesions(truth, predicted) == of_scipy(truth, predicted)
    labels, count = label_lesions(truth)
    expected, expected_count = ndimage.label(truth, np.ones((3,) * axes))
    assert (count, labels.shape, labels.dtype) == (expected_count, truth.shape, np.int32)
    pairs = set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs})


def test_large_masks_equal_scipy():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(512, 512)), 4)
    truth, predicted = smooth > 0.08, np.roll(smooth, 5, 0) > 0.09
    ours = count_lesions(truth, predicted)
    assert ours == of_scipy(truth, predicted)
    assert ours.found > 0
    assert ours.false > 0


def test_pixels_that_touch_at_a_corner_are_one_lesion():
    corner = np.eye(3, dtype=bool)
    assert label_lesions(corner)[1] == 1
    stack = np.zeros((2, 3, 3), bool)
    stack[0, 0, 0] = stack[1, 1, 1] = True
    assert label_lesions(stack)[1] == 1


def test_one_prediction_may_find_several_lesions_and_several_may_find_one():
    truth = np.array([[1, 0, 1, 0, 0, 1, 1, 1]], bool)
    predicted = np.array([[1, 1, 1, 0, 0, 1, 0, 1]], bool)
    assert count_lesions(truth, predicted) == LesionCounts(truth=3, found=3, predicted=3, false=0)


def test_a_lesion_missed_by_a_pixel_is_missed_and_the_prediction_false():
    truth, predicted = np.zeros((5, 5), bool), np.zeros((5, 5), bool)
    truth[0, 0] = predicted[0, 1] = True
    assert count_lesions(truth, predicted) == LesionCounts(truth=1, found=0, predicted=1, false=1)


def test_empty_masks_have_no_lesions():
    none, some = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    assert count_lesions(none, none) == LesionCounts(0, 0, 0, 0)
    assert count_lesions(none, some) == LesionCounts(0, 0, 1, 1)
    assert count_lesions(some, none) == LesionCounts(1, 0, 0, 0)
    assert count_lesions(none[None], none[None]) == LesionCounts(0, 0, 0, 0)
    assert label_lesions(none)[1] == 0


def test_masks_of_two_shapes_are_refused_in_one_line():
    with pytest.raises(InputError, match=r"^masks: found truth of shape \(2, 2\) and prediction of shape \(2, 3\)"):
        count_lesions(np.ones((2, 2), bool), np.ones((2, 3), bool))
