import pytest

from scanline.figures.numbers import (
    format_count,
    format_difference,
    format_interval,
    format_metric,
    format_seconds,
    format_share,
    format_value,
    spell,
)


def test_a_metric_is_a_value_with_its_interval():
    metric = {"value": 0.98349, "low": 0.9712, "high": 1.0, "reason": None}
    assert format_metric(metric) == "0.983 [0.971, 1.000]"
    assert format_metric({**metric, "low": None, "high": None}) == "0.983 [no interval]"


def test_an_undefined_metric_gives_its_reason_and_never_zero():
    assert format_metric({"value": None, "reason": "no positive image"}) == "undefined: no positive image"
    assert format_metric({"value": None, "reason": None}) == "undefined: no reason given"
    assert format_metric(None) == "undefined: not computed"
    assert format_value(None) == "undefined"
    assert format_count(None) == "undefined"
    assert format_share(None) == "undefined"


def test_a_difference_carries_its_sign():
    assert format_difference({"value": 0.03, "low": -0.004, "high": 0.06}) == ("+0.030", "[−0.004, +0.060]")
    assert format_difference({"value": -0.03, "low": None, "high": None}) == ("−0.030", "[no interval]")
    assert format_difference({"value": None, "reason": "no positives"}) == ("undefined: no positives", "")


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0.0%"), (1.0, "100.0%"), (0.1234, "12.3%"), (1e-5, "<0.1%"), (0.99999, ">99.9%"), (0.5, "50.0%")],
)
def test_a_share_rounds_neither_to_nothing_nor_to_all(share, text):
    assert format_share(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.49, "7.5 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (None, "undefined")]
)
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


def test_counts_names_and_intervals():
    assert format_count(3511) == "3,511"
    assert format_interval(-0.1, 0.2, 2) == "[−0.10, 0.20]"
    assert spell("perihaematomal_oedema") == "perihaematomal oedema"
