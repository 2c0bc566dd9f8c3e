"""Surface distances equal those of the package surface-distance and of scipy, in 2-D and 3-D."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt, gaussian_filter
from surface_distance import metrics as reference

from scanline.core.errors import InputError
from scanline.evaluate.masks import as_mask, bounding_box
from scanline.evaluate.surfaces import TOLERANCE_ROUNDING, hd95, surface_dice, surface_distances

SEEDS = st.integers(0, 2**32 - 1)
pytestmark = pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")


def random_mask(generator, shape):
    """A smooth blob, noise, a single pixel, a block, or the whole image; never empty."""
    kind = generator.integers(5)
    mask = np.zeros(shape, bool)
    if kind == 0:
        mask = gaussian_filter(generator.normal(size=shape), 1.5) > 0.1
    elif kind == 1:
        mask = generator.random(shape) < generator.random()
    elif kind == 2:
        low = [generator.integers(0, side) for side in shape]
        mask[
            tuple(slice(start, generator.integers(start, side) + 1) for start, side in zip(low, shape, strict=True))
        ] = 1
    elif kind == 3:
        mask[...] = True
    mask[tuple(generator.integers(0, side) for side in shape)] = True
    return mask


def random_pair(seed, axes, largest):
    generator = np.random.default_rng(seed)
    shape = tuple(int(side) for side in generator.integers(1, largest + 1, axes))
    return random_mask(generator, shape), random_mask(generator, shape)


def assert_equals_reference(truth, predicted, spacing, *, exact=False, tolerances=(0.0, 0.5, 1.0, 1.5, 2.0, 7.0)):
    ours = surface_distances(truth, predicted, spacing)
    theirs = reference.compute_surface_distances(truth, predicted, spacing or (1.0,) * truth.ndim)
    allowed = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-12, "atol": 0}
    np.testing.assert_allclose(ours.of_truth, theirs["distances_gt_to_pred"], **allowed)
    np.testing.assert_allclose(ours.of_prediction, theirs["distances_pred_to_gt"], **allowed)
    for percentile in (0, 50, 95, 99, 100):
        expected = reference.compute_robust_hausdorff(theirs, percentile)
        assert ours.hausdorff(percentile) == pytest.approx(expected, rel=1e-12, abs=0)
    for tolerance in tolerances:
        expected = reference.compute_surface_dice_at_tolerance(theirs, tolerance * (1 + TOLERANCE_ROUNDING))
        assert ours.surface_dice(tolerance) == pytest.approx(expected, rel=1e-12, abs=0)


@settings(max_examples=300)
@given(SEEDS)
def test_distances_in_pixels_equal_the_reference_to_the_last_bit(seed):
    assert_equals_reference(*random_pair(seed, axes=2, largest=24), None, exact=True)


@settings(max_examples=150)
@given(SEEDS, st.sampled_from([0.1, 0.3, 0.5, 0.7031, 2.0]))
def test_distances_on_a_square_grid_in_mm_equal_the_reference(seed, step):
    assert_equals_reference(*random_pair(seed, axes=2, largest=24), (step, step))


@settings(max_examples=150)
@given(SEEDS, st.sampled_from([(1.0, 2.0), (0.45, 5.0), (3.0, 0.7)]))
def test_distances_on_an_oblong_grid_equal_the_reference(seed, spacing):
    assert_equals_reference(*random_pair(seed, axes=2, largest=20), spacing, exact=True)


@settings(max_examples=100)
@given(SEEDS, st.sampled_from([None, (5.0, 0.45, 0.45), (1.5, 0.8, 0.7)]))
def test_distances_of_volumes_equal_the_reference(seed, spacing):
    assert_equals_reference(*random_pair(seed, axes=3, largest=9), spacing, exact=True)


@pytest.mark.parametrize("threads", [1, 2])
def test_large_images_stay_exact_in_the_fast_transform_and_beyond_it(threads):
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        generator = np.random.default_rng(threads)
        for shape in ((1023, 1023), (1023, 7), (1024, 900), (3, 3000)):
            truth, predicted = np.zeros(shape, bool), np.zeros(shape, bool)
            truth[0, 0] = predicted[-1, -1] = True
            truth.flat[generator.integers(0, truth.size, 30)] = True
            predicted.flat[generator.integers(0, truth.size, 3)] = True
            assert_equals_reference(truth, predicted, None, exact=True)
    finally:
        cv2.setNumThreads(before)


def test_hausdorff_of_single_pixels_is_their_distance_in_the_order_of_the_axes():
    truth, predicted = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    truth[1, 1] = predicted[4, 5] = True
    assert hd95(truth, predicted) == 5
    assert hd95(truth, predicted, (2, 0.5)) == pytest.approx(np.hypot(6, 2), rel=1e-12)
    assert hd95(truth[None], predicted[None], (9, 2, 0.5)) == pytest.approx(np.hypot(6, 2), rel=1e-12)
    assert hd95(np.stack([truth, ~truth & False]), np.stack([truth & False, truth]), (4, 1, 1)) == 4


def test_identical_masks_are_at_distance_zero():
    mask = random_mask(np.random.default_rng(0), (40, 30))
    assert hd95(mask, mask) == 0
    assert surface_dice(mask, mask, 0) == 1


def test_the_image_border_is_a_surface():
    truth, predicted = np.ones((6, 6), bool), np.zeros((6, 6), bool)
    predicted[:, :5] = True
    assert hd95(truth, predicted) == 1
    assert hd95(np.pad(truth, 3), np.pad(predicted, 3)) == 1


def test_where_a_mask_stands_changes_nothing():
    truth, predicted = random_pair(5, axes=2, largest=20)
    here = surface_distances(truth, predicted)
    there = surface_distances(*(np.pad(mask, ((11, 2), (5, 30))) for mask in (truth, predicted)))
    for name in ("of_truth", "of_prediction", "truth_sizes", "predicted_sizes"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))


@settings(max_examples=50)
@given(SEEDS)
def test_distances_are_those_of_scipy_between_the_corners_of_the_pixel_grid(seed):
    truth, predicted = random_pair(seed, axes=2, largest=16)
    surfaces = []
    for mask in (truth, predicted):
        padded = np.pad(mask, 1).astype(int)
        inside = padded[:-1, :-1] + padded[:-1, 1:] + padded[1:, :-1] + padded[1:, 1:]
        surfaces.append((inside > 0) & (inside < 4))
    distances = surface_distances(truth, predicted)
    np.testing.assert_array_equal(distances.of_truth, np.sort(distance_transform_edt(~surfaces[1])[surfaces[0]]))
    np.testing.assert_array_equal(distances.of_prediction, np.sort(distance_transform_edt(~surfaces[0])[surfaces[1]]))


def test_a_distance_equal_to_the_tolerance_lies_within_it():
    truth, predicted = np.zeros((3, 9), bool), np.zeros((3, 9), bool)
    truth[1, 1] = predicted[1, 4] = True
    assert 3 * 0.1 > 0.3  # in binary fractions
    assert surface_dice(truth, predicted, 0.3, (0.1, 0.1)) == 1
    assert surface_dice(truth, predicted, 0.3 - 1e-6, (0.1, 0.1)) == 0.5


def test_empty_masks_have_no_distance():
    some, none = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    for pair in ((some, none), (none, some), (none, none), (some[None], none[None])):
        assert np.isnan(hd95(*pair))
    assert surface_dice(some, none, 100) == surface_dice(none, some, 100) == 0
    assert np.isnan(surface_dice(none, none, 1))
    assert np.isinf(surface_distances(some, none).of_truth).all()


def test_all_ways_to_write_a_mask_are_one():
    mask = random_mask(np.random.default_rng(3), (20, 20))
    for values in (mask, mask.astype(np.uint8), mask * np.uint8(255), np.asfortranarray(mask), mask[::-1][::-1]):
        np.testing.assert_array_equal(as_mask(values), mask)
    assert as_mask(np.zeros((2, 2), np.uint8)).sum() == 0
    assert as_mask(np.full((2, 2), 255, np.uint8)).tolist() == [[1, 1], [1, 1]]


@settings(max_examples=50)
@given(SEEDS, st.sampled_from([2, 3]))
def test_the_bounding_box_holds_everything_and_no_more(seed, axes):
    generator = np.random.default_rng(seed)
    mask = (generator.random(generator.integers(1, 9, axes)) < 0.1).astype(np.uint8)
    box = bounding_box(mask)
    assert mask[box].sum() == mask.sum()
    places = np.nonzero(mask)
    if mask.any():
        assert box == tuple(slice(axis.min(), axis.max() + 1) for axis in places)
    else:
        assert mask[box].size == 0


MASK = np.ones((4, 4), bool)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: hd95(MASK, np.ones((4, 5), bool)),
            "masks: found truth of shape (4, 4) and prediction of shape (4, 5); expected one shape for both.",
        ),
        (
            lambda: hd95(MASK, MASK * 0.5),
            "masks: prediction: found dtype float64; expected booleans, or uint8 of 0 and 1",
        ),
        (
            lambda: hd95(np.full((4, 4), 7, np.uint8), MASK),
            "masks: truth: found the values 7; expected 0 and 1, or 0 and",
        ),
        (
            lambda: as_mask(np.array([[0, 1, 255]], np.uint8)),
            "mask: found the values 0, 1, 255; expected 0 and 1, or 0 and 255.",
        ),
        (
            lambda: as_mask(np.ones(4, bool)),
            "mask: found shape (4,); expected (height, width) or (slices, height, width)",
        ),
        (lambda: as_mask(np.ones((0, 4), bool)), "mask: found shape (0, 4); expected (height, width) or"),
        (lambda: hd95(MASK, MASK, (1, 0)), "spacing_mm: found (1, 0); expected 2 positive numbers of mm."),
        (lambda: hd95(MASK, MASK, (1, -1)), "spacing_mm: found (1, -1); expected 2 positive numbers of mm."),
        (lambda: hd95(MASK, MASK, (1, float("nan"))), "spacing_mm: found (1, nan); expected 2 positive numbers of mm."),
        (lambda: hd95(MASK, MASK, (1, None)), "spacing_mm: found (1, None); expected 2 positive numbers of mm."),
        (lambda: hd95(MASK, MASK, (5, 1, 1)), "spacing_mm: found (5, 1, 1); expected 2 positive numbers of mm."),
        (lambda: surface_dice(MASK, MASK, -1), "tolerance: found -1; expected a finite number, at least 0."),
        (lambda: surface_dice(MASK, MASK, float("nan")), "tolerance: found nan; expected a finite number, at least 0."),
    ],
)
def test_bad_input_is_one_clear_line(call, line):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value).startswith(line)
    assert len(str(error.value).splitlines()) == 1
