"""The threshold: the best one, in the middle of its gap, from val alone."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.evaluate.calibration import digest_of_scores
from scanline.evaluate.operating_point import (
    best_threshold,
    check_fitted_on,
    fit_operating_point,
    read_operating_point,
)
from scanline.evaluate.options import EvaluateOptions


def by(rule, **others):
    return EvaluateOptions(operating_point=rule, **others)


def ids(count):
    return [f"image{index}" for index in range(count)]


def criterion(rule, truth, predicted):
    if rule == "f1":
        return sk.f1_score(truth, predicted)
    return sk.recall_score(truth, predicted) + sk.recall_score(truth, predicted, pos_label=False) - 1


@pytest.mark.parametrize("rule", ["f1", "youden"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_threshold_is_better_and_no_lower_one_as_good(rule, data):
    size = data.draw(st.integers(2, 15))
    scores = st.one_of(st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.floats(0, 1))
    truth = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    probability = np.array(data.draw(st.lists(scores, min_size=size, max_size=size)))
    truth[:2] = [True, False]
    threshold, value = best_threshold(rule, truth, probability)
    assert 0 <= threshold <= 1
    predicted = probability >= threshold
    assert value == pytest.approx(criterion(rule, truth, predicted), abs=1e-12)
    for other in np.unique(probability):
        rival = criterion(rule, truth, probability >= other)
        assert rival <= value + 1e-12
        if (probability >= other).sum() > predicted.sum():
            assert rival < value - 1e-9


def test_the_threshold_lies_in_the_middle_of_its_gap():
    truth = np.array([False, False, True, True])
    for rule in ("f1", "youden"):
        assert best_threshold(rule, truth, np.array([0.1, 0.3, 0.7, 0.9])) == (pytest.approx(0.5), 1)


def test_equally_good_gaps_give_the_lowest():
    truth = np.array([True, False, False, True, False])  # F1 2/3 after the first, and after the fourth
    threshold, value = best_threshold("f1", truth, np.array([0.9, 0.8, 0.7, 0.6, 0.1]))
    assert (threshold, value) == (pytest.approx(0.35), pytest.approx(2 / 3))
    tied = np.array([True, False, True, False, False, True])  # Youden 1/3 after the first, and after the third
    threshold, _ = best_threshold("youden", tied, np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.1]))
    assert threshold == pytest.approx(0.65)


@pytest.mark.parametrize("lower", [0.3, np.nextafter(0.3, 1)])  # the middle rounds down for one, up for the other
def test_neighbouring_floats_keep_the_threshold_above_the_lower_one(lower):
    upper = np.nextafter(lower, 1)
    threshold, value = best_threshold("f1", np.array([False, True]), np.array([lower, upper]))
    assert lower < threshold <= upper
    assert value == 1


def test_all_scores_equal_predicts_all_positive():
    for score in (0.0, 0.5, 1.0):
        threshold, _ = best_threshold("f1", np.array([True, False]), np.array([score, score]))
        assert score >= threshold


@pytest.mark.parametrize("truth", [[True, True], [False, False], []])
@pytest.mark.parametrize("rule", ["f1", "youden"])
def test_val_without_both_classes_is_refused_in_one_line(rule, truth):
    truth = np.array(truth, dtype=bool)
    with pytest.raises(InputError) as caught:
        fit_operating_point(by(rule), ids(len(truth)), truth, np.full(len(truth), 0.5), where="scores.parquet")
    message = str(caught.value)
    assert "scores.parquet: subset val" in message
    assert f"{truth.sum()} positive and {(~truth).sum()} negative" in message
    assert "operating_point: fixed" in message
    assert "\n" not in message


def test_the_fixed_rule_looks_at_nothing():
    point = fit_operating_point(by("fixed"), [], np.zeros(0, bool), np.zeros(0), where="scores")
    assert point.threshold == 0.5
    assert point.subset is None
    assert point.scores_sha256 is None
    assert point.predict(np.array([0.5, 0.49])).tolist() == [True, False]


def test_the_file_records_what_it_was_fitted_on():
    truth, probability = np.array([True, False, True]), np.array([0.9, 0.2, 0.4])
    point = fit_operating_point(by("f1"), ids(3), truth, probability, where="scores")
    values = json.loads(json.dumps(point.as_json()))
    assert values == {
        "rule": "f1",
        "threshold": pytest.approx(0.3),
        "temperature": None,
        "target": None,
        "criterion": 1.0,
        "subset": "val",
        "images": 3,
        "positives": 2,
        "scores_sha256": digest_of_scores(ids(3), truth, probability),
    }


def test_the_digest_sees_every_value_and_no_order():
    truth, probability = np.array([True, False]), np.array([0.9, 0.2])
    digest = digest_of_scores(["a", "b"], truth, probability)
    assert digest == digest_of_scores(["b", "a"], truth[::-1], probability[::-1])
    assert digest != digest_of_scores(["a", "c"], truth, probability)
    assert digest != digest_of_scores(["a", "b"], ~truth, probability)
    assert digest != digest_of_scores(["a", "b"], truth, np.array([np.nextafter(0.9, 1), 0.2]))


@pytest.mark.parametrize("rule", ["sensitivity", "specificity"])
@given(data=st.data())
def test_a_target_is_reached_at_the_best_of_the_other(rule, data):
    size = data.draw(st.integers(2, 15))
    target = data.draw(st.sampled_from([0.5, 0.8, 0.9, 1.0]))
    scores = st.one_of(st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.floats(0, 1))
    truth = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    probability = np.array(data.draw(st.lists(scores, min_size=size, max_size=size)))
    truth[:2] = [True, False]

    def both(threshold):
        predicted = probability >= threshold
        return sk.recall_score(truth, predicted), sk.recall_score(truth, predicted, pos_label=False)

    wanted, other = (0, 1) if rule == "sensitivity" else (1, 0)
    able = [both(one) for one in np.unique(probability) if both(one)[wanted] >= target - 1e-9]
    if not able:
        with pytest.raises(InputError, match=f"expected {target:g} or more at a threshold that calls an image"):
            best_threshold(rule, truth, probability, target)
        return
    threshold, reached = best_threshold(rule, truth, probability, target)
    assert both(threshold)[wanted] == pytest.approx(reached)
    assert reached >= target - 1e-9
    assert both(threshold)[other] == pytest.approx(max(pair[other] for pair in able))


def test_a_rule_without_its_target_is_a_programming_error():
    with pytest.raises(ValueError, match="rule sensitivity with target None"):
        best_threshold("sensitivity", np.array([True, False]), np.array([0.9, 0.1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operating_point": "sensitivity"}, "operating_point sensitivity needs a target"),
        ({"operating_point": "f1", "target": 0.9}, "target 0.9 has no meaning for operating_point f1"),
    ],
)
def test_target_and_rule_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        EvaluateOptions(**options)


def test_the_temperature_is_fitted_first_and_the_threshold_is_on_calibrated_probabilities():
    generator = np.random.default_rng(0)
    chance = generator.random(2_000)
    truth = generator.random(2_000) < chance
    overconfident = chance**3 / (chance**3 + (1 - chance) ** 3)  # logits three times too large
    point = fit_operating_point(by("youden", temperature_scaling=True), ids(2_000), truth, overconfident)
    assert point.temperature == pytest.approx(3, rel=0.15)
    calibrated = point.calibrate(overconfident)
    assert sk.log_loss(truth, calibrated) < sk.log_loss(truth, overconfident) - 0.1
    plain = fit_operating_point(by("youden"), ids(2_000), truth, overconfident)
    assert (point.predict(overconfident) == plain.predict(overconfident)).all()  # the order of scores is the same
    fixed = fit_operating_point(by("fixed", temperature_scaling=True), ids(2_000), truth, overconfident)
    assert (fixed.threshold, fixed.subset, fixed.criterion) == (0.5, "val", None)
    assert fixed.temperature == point.temperature


def test_the_record_is_read_back_as_it_was_written(tmp_path):
    truth, probability = np.array([True, False, True]), np.array([0.9, 0.2, 0.4])
    point = fit_operating_point(by("specificity", target=0.9), ids(3), truth, probability)
    write_json(tmp_path / "point.json", point.as_json())
    again = read_operating_point(tmp_path / "point.json")
    assert again == point
    assert again.sha256() == point.sha256()
    write_json(tmp_path / "point.json", {"threshold": 0.5})
    with pytest.raises(InputError, match="found threshold; expected an operating point with the keys criterion"):
        read_operating_point(tmp_path / "point.json")


def test_a_point_fitted_on_other_scores_is_refused():
    truth, probability = np.array([True, False, True]), np.array([0.9, 0.2, 0.4])
    point = fit_operating_point(by("f1"), ids(3), truth, probability)
    check_fitted_on(point, ids(3), truth, probability, where="point.json")
    with pytest.raises(InputError) as caught:
        check_fitted_on(point, ids(3), truth, probability[::-1], where="point.json")
    assert str(caught.value).startswith("point.json: scores_sha256: found")
    assert "fitted on 3 images of val" in str(caught.value)
    fixed = fit_operating_point(by("fixed"), [], np.zeros(0, bool), np.zeros(0))
    check_fitted_on(fixed, ids(3), truth, probability, where="point.json")
