"""Areas under both curves equal scikit-learn's on every resample, with ties, weights and missing classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from scanline.core.errors import InputError
from scanline.evaluate import ranking
from scanline.evaluate.bootstrap import draw_cluster_weights
from scanline.evaluate.ranking import Ranking, in_blocks

TIED = st.sampled_from([-3.0, 0.0, 0.1, 0.5, 0.5 + 1e-16, 0.75, 7.0])
SCORE = st.one_of(TIED, st.floats(-10, 10))


@st.composite
def scored_patients(draw):
    images = draw(st.integers(2, 30))
    patients = draw(st.integers(1, 6))
    truth = np.array(draw(st.lists(st.booleans(), min_size=images, max_size=images)))
    score = np.array(draw(st.lists(SCORE, min_size=images, max_size=images)))
    patient = np.array(draw(st.lists(st.integers(0, patients - 1), min_size=images, max_size=images)))
    weights = np.array(draw(st.lists(st.integers(0, 3), min_size=patients, max_size=patients)), dtype=float)
    return truth, score, patient, weights


@given(scored_patients())
def test_areas_equal_scikit_learn_with_repeated_images(case):
    truth, score, patient, weights = case
    auroc, auprc = Ranking(truth, score, patient).areas(np.stack([weights, weights / 7]))
    rows = np.repeat(np.arange(len(truth)), weights[patient].astype(int))
    drawn = truth[rows]
    assert np.isnan(auroc[0]) == (drawn.all() or not drawn.any())
    assert np.isnan(auprc[0]) == (not drawn.any())
    if not np.isnan(auroc[0]):
        assert auroc[0] == pytest.approx(sk.roc_auc_score(drawn, score[rows]), abs=1e-12)
    if not np.isnan(auprc[0]):
        assert auprc[0] == pytest.approx(sk.average_precision_score(drawn, score[rows]), abs=1e-12)
    for area in (auroc, auprc):
        assert area[1] == pytest.approx(area[0], abs=1e-12, nan_ok=True)


def test_many_resamples_equal_scikit_learn_each(monkeypatch):
    generator = np.random.default_rng(0)
    patient = generator.integers(0, 40, 300)
    patient[:40] = np.arange(40)
    truth = generator.random(300) < 0.2
    score = generator.normal(truth, 1).round(1)
    weights = next(iter(draw_cluster_weights(40, 150, generator, chunk=150)))
    auroc, auprc = Ranking(truth, score, patient).areas(weights)
    for row in range(150):
        images = np.repeat(np.arange(300), weights[row, patient].astype(int))
        assert auroc[row] == pytest.approx(sk.roc_auc_score(truth[images], score[images]), abs=1e-12)
        assert auprc[row] == pytest.approx(sk.average_precision_score(truth[images], score[images]), abs=1e-12)
    monkeypatch.setattr(ranking.os, "sched_getaffinity", lambda _: {0}, raising=False)
    alone = Ranking(truth, score, patient).areas(weights)
    np.testing.assert_array_equal(alone[0], auroc)
    np.testing.assert_array_equal(alone[1], auprc)


def test_blocks_cover_every_row_once():
    for rows in (0, 1, 64, 65, 200):
        seen = np.zeros(rows, int)

        def mark(part, seen=seen):
            seen[part] += 1

        in_blocks(mark, rows)
        assert (seen == 1).all()


def test_no_images_and_no_resamples_give_nothing():
    nothing = Ranking(np.zeros(0, bool), np.zeros(0), np.zeros(0, np.intp))
    auroc, auprc = nothing.areas(np.ones((2, 0)))
    assert np.isnan(auroc).all()
    assert np.isnan(auprc).all()
    assert len(Ranking(np.array([True, False]), np.zeros(2), np.arange(2)).areas(np.ones((0, 2)))[0]) == 0


def test_lengths_that_differ_are_refused_in_one_line():
    with pytest.raises(InputError, match=r"^truth and score and clusters: found lengths truth 2, score 3, clusters 2;"):
        Ranking(np.zeros(2, bool), np.zeros(3), np.arange(2))


def test_the_compiled_code_is_the_tested_code():
    truth, score, patient = np.array([True, False, True, False]), np.array([0.9, 0.9, 0.2, 0.1]), np.array([0, 1, 1, 0])
    ranked = Ranking(truth, score, patient)
    auroc, auprc = np.empty(2), np.empty(2)
    ranking._areas(np.array([[1.0, 2.0], [1.0, 3.0]]), ranked._clusters, ranked._steps, auroc, auprc)
    compiled = ranked.areas(np.array([[1.0, 1.0], [2.0, 3.0]]))
    np.testing.assert_array_equal(auroc, compiled[0])
    np.testing.assert_array_equal(auprc, compiled[1])
