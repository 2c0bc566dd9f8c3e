"""Weighted boxes fusion: against the package of the paper's first author, by hand, and at the edges."""

from typing import get_args

import numpy as np
import pytest
from ensemble_boxes import weighted_boxes_fusion
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.predict.ensemble_options import BoxFusion, Confidence
from scanline.predict.weighted_boxes import ScoredBoxes, fuse_boxes, overlap_with

# Their names for the score of a fused box.
THEIRS = {
    "average": "avg",
    "maximum": "max",
    "box_and_model_average": "box_and_model_avg",
    "absent_model_aware_average": "absent_model_aware_avg",
}
NOTHING = ScoredBoxes(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))


def boxes_of(*rows):
    """Boxes of rows of xmin, ymin, xmax, ymax, class, score."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return ScoredBoxes(table[:, :4], table[:, 4].astype(np.int64), table[:, 5])


def scattered(generator, models, most):
    """Boxes around a few places, so that many overlap; no two scores are equal."""
    centres = generator.uniform(0.2, 0.8, (3, 2))
    found = []
    for _ in range(models):
        count = int(generator.integers(0, most + 1))
        centre = centres[generator.integers(0, 3, count)] + generator.normal(0, 0.02, (count, 2))
        half = generator.uniform(0.05, 0.15, (count, 2))
        corners = np.concatenate([centre - half, centre + half], axis=1).clip(0, 1)
        found.append(ScoredBoxes(corners, generator.integers(1, 3, count), generator.uniform(0.01, 1, count)))
    return found


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    models=st.integers(1, 4),
    confidence=st.sampled_from(get_args(Confidence)),
    threshold=st.sampled_from([0.3, 0.55, 0.8]),
    skipped=st.sampled_from([0.0, 0.3]),
)
def test_the_package_of_the_papers_author_gives_the_same(seed, models, confidence, threshold, skipped):
    generator = np.random.default_rng(seed)
    found = scattered(generator, models, 12)
    weights = generator.uniform(0.5, 3, models)
    options = BoxFusion(iou_threshold=threshold, skip_box_score=skipped, confidence=confidence)
    fused = fuse_boxes(found, weights, options)
    corners, scores, labels = weighted_boxes_fusion(
        [boxes.corners for boxes in found],
        [boxes.scores for boxes in found],
        [boxes.classes for boxes in found],
        weights=weights,
        iou_thr=threshold,
        skip_box_thr=skipped,
        conf_type=THEIRS[confidence],
    )
    np.testing.assert_allclose(fused.scores, scores, rtol=1e-6)
    mine = np.lexsort((fused.corners[:, 0], fused.scores.round(9)))
    theirs = np.lexsort((corners[:, 0], scores.round(9)))
    np.testing.assert_allclose(fused.corners[mine], corners[theirs], atol=1e-6)
    assert fused.classes[mine].tolist() == labels[theirs].astype(int).tolist()


def test_two_boxes_by_hand():
    found = [boxes_of((0, 0, 10, 10, 1, 0.6)), boxes_of((2, 0, 12, 10, 1, 0.2))]
    fused = fuse_boxes(found, (1, 1), BoxFusion())
    np.testing.assert_allclose(fused.corners, [[0.5, 0, 10.5, 10]])
    np.testing.assert_allclose(fused.scores, [0.4])
    alone = fuse_boxes(found, (1, 1), BoxFusion(iou_threshold=0.7))  # they overlap by 80 / 120
    np.testing.assert_allclose(alone.scores, [0.3, 0.1])
    np.testing.assert_allclose(alone.corners, [[0, 0, 10, 10], [2, 0, 12, 10]])


def test_a_heavier_model_draws_the_box_to_its_own():
    found = [boxes_of((0, 0, 10, 10, 1, 0.5)), boxes_of((2, 0, 12, 10, 1, 0.5))]
    fused = fuse_boxes(found, (3, 1), BoxFusion())
    np.testing.assert_allclose(fused.corners, [[0.5, 0, 10.5, 10]])
    np.testing.assert_allclose(fused.scores, [0.5])


def test_classes_are_fused_apart():
    found = [boxes_of((0, 0, 10, 10, 1, 0.5)), boxes_of((0, 0, 10, 10, 2, 0.5))]
    fused = fuse_boxes(found, (1, 1), BoxFusion())
    assert fused.classes.tolist() == [1, 2]
    np.testing.assert_allclose(fused.scores, [0.25, 0.25])


def test_an_overlap_of_just_the_threshold_does_not_join():
    found = [boxes_of((0, 0, 10, 10, 1, 0.5)), boxes_of((0, 0, 10, 5, 1, 0.4))]
    assert len(fuse_boxes(found, (1, 1), BoxFusion(iou_threshold=0.5))) == 2
    assert len(fuse_boxes(found, (1, 1), BoxFusion(iou_threshold=0.49))) == 1


def test_the_order_of_boxes_with_equal_scores_is_kept():
    rows = [(40 * k, 0, 40 * k + 10, 10, 1, 0.5) for k in range(40)]
    fused = fuse_boxes([boxes_of(*rows), NOTHING], (1, 1), BoxFusion())
    assert fused.corners[:, 0].tolist() == [row[0] for row in rows]


@pytest.mark.parametrize("confidence", get_args(Confidence))
def test_a_box_that_all_models_agree_on_stays_as_it_is(confidence):
    box = (3, 4, 10, 20, 1, 0.7)
    fused = fuse_boxes([boxes_of(box)] * 3, (1, 2, 1), BoxFusion(confidence=confidence))
    np.testing.assert_allclose(fused.corners, [box[:4]])
    np.testing.assert_allclose(fused.scores, [0.7])


def test_nothing_in_nothing_out_and_what_has_no_area_or_score_is_left_out():
    for found in ([NOTHING, NOTHING], [boxes_of((1, 1, 1, 5, 1, 0.9)), boxes_of((1, 1, 5, 5, 1, 0.0))]):
        fused = fuse_boxes(found, (1, 1), BoxFusion())
        assert len(fused) == 0
        assert fused.corners.shape == (0, 4)


def test_overlap():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6]], dtype=np.float64)
    np.testing.assert_allclose(overlap_with(boxes, np.array([0, 0, 2, 2.0])), [1, 1 / 7, 0])
