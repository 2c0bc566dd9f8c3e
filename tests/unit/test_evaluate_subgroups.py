"""Subgroups: each is evaluated as if alone, its difference draws patients as it should, and small ones say so."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.core.errors import InputError
from scanline.evaluate import subgroups
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import divide, estimate, resample, seeded_generator
from scanline.evaluate.inputs import as_clusters
from scanline.evaluate.multiclass import MulticlassMetrics
from scanline.evaluate.multilabel import MultilabelMetrics
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.subgroups import AmongOthers, age_bands, evaluate_subgroups, lesion_size_bands

FEW = EvaluateOptions(bootstrap_resamples=200)


def example(seed=0, patients=60, each=3):
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), each)
    truth = rng.random(patients * each) < 0.5
    probability = np.clip(rng.normal(0.35 + 0.3 * truth, 0.25), 0, 1)
    return truth, probability, patient


def binary_of(truth, probability):
    return lambda rows, clusters: BinaryMetrics(truth[rows], probability[rows] >= 0.5, probability[rows], clusters)


class Share:
    """The share of images that are right."""

    def __init__(self, right, clusters):
        self.right = np.bincount(clusters, right)
        self.images = np.bincount(clusters)

    def __call__(self, weights):
        return {"share": divide(weights @ self.right, weights @ self.images)}

    def reason_undefined(self, name):
        return "there are no images"


def test_a_subgroup_is_evaluated_as_if_it_were_alone():
    truth, probability, patient = example()
    sex = np.where(patient % 3 == 0, "F", "M")
    result = evaluate_subgroups(sex, binary_of(truth, probability), patients=patient, positive=truth, options=FEW)
    assert list(result) == ["F", "M"]
    for name, row in result.items():
        rows = np.flatnonzero(sex == name)
        alone = BinaryMetrics(
            truth[rows], probability[rows] >= 0.5, probability[rows], as_clusters(patient[rows], len(rows))
        )
        expected = estimate(alone, alone.clusters, FEW, "evaluate_subgroups", name)
        assert row["metrics"] == {key: value.as_json() for key, value in expected.items()}
        assert (row["images"], row["patients"], row["clusters"]) == (len(rows), alone.clusters, alone.clusters)
        assert row["positives"] == truth[rows].sum()
        assert row["clusters_also_in_rest"] == 0
    for key, value in result["F"]["metrics"].items():
        difference = result["F"]["difference_to_rest"][key]
        assert difference["value"] == pytest.approx(value["value"] - result["M"]["metrics"][key]["value"])
        assert difference["value"] == -result["M"]["difference_to_rest"][key]["value"]


@settings(max_examples=40)
@given(st.data())
def test_every_image_is_in_one_subgroup(data):
    size = data.draw(st.integers(0, 12))
    groups = data.draw(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=size, max_size=size))
    patients = data.draw(st.lists(st.sampled_from(["p", "q", None]), min_size=size, max_size=size))
    right = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=bool)
    if size and all(name is None for name in groups):
        return
    result = evaluate_subgroups(
        groups, lambda rows, clusters: Share(right[rows], clusters), patients=patients, positive=right,
        options=EvaluateOptions(bootstrap_resamples=100),
    )  # fmt: skip
    json.dumps(result, allow_nan=False)
    assert sum(row["images"] for row in result.values()) == size
    assert sum(row["positives"] for row in result.values()) == right.sum()
    for name, row in result.items():
        inside = [group == (None if name == "unknown" else name) for group in groups]
        rest = [group is not None and not here for group, here in zip(groups, inside, strict=True)]
        share = row["metrics"]["share"]["value"]
        assert share == right[inside].mean()
        difference = row["difference_to_rest"]["share"]
        if any(rest):
            assert difference["value"] == pytest.approx(share - right[rest].mean(), abs=1e-12)
        else:
            assert (difference["value"], difference["reason"]) == (None, "there are no other images")


def test_a_difference_of_patients_apart_is_that_of_two_independent_bootstraps():
    truth, probability, patient = example(patients=80)
    right = truth == (probability >= 0.5)
    group = np.where(patient < 30, "a", "b")
    options = EvaluateOptions(bootstrap_resamples=4000)
    row = evaluate_subgroups(
        group, lambda rows, clusters: Share(right[rows], clusters), patients=patient, options=options
    )["a"]["difference_to_rest"]["share"]
    values = []
    for name, count in (("a", 30), ("b", 50)):
        rows = group == name
        share = Share(right[rows], as_clusters(patient[rows], int(rows.sum())))
        values.append(resample(share, count, 4000, seeded_generator(5, name))["share"])
    low, high = np.quantile(values[0] - values[1], [0.025, 0.975])
    assert [row["low"], row["high"]] == pytest.approx([low, high], abs=0.01)


def test_a_patient_in_both_is_drawn_for_both():
    rng = np.random.default_rng(3)
    patient = np.tile(np.arange(50), 2)
    view = np.repeat(["PA", "lateral"], 50)
    skill = rng.random(50) < 0.6  # a patient is easy in both views or in neither
    right = np.concatenate([skill, skill & (rng.random(50) < 0.9)])

    def measure(rows, clusters):
        return Share(right[rows], clusters)

    joint = evaluate_subgroups(view, measure, patients=patient, options=FEW)["PA"]
    apart = evaluate_subgroups(view, measure, options=FEW)["PA"]
    assert (joint["clusters_also_in_rest"], apart["clusters_also_in_rest"]) == (50, 0)
    widths = [row["difference_to_rest"]["share"]["high"] - row["difference_to_rest"]["share"]["low"]
              for row in (joint, apart)]  # fmt: skip
    assert widths[0] < 0.6 * widths[1]
    weights = np.random.default_rng(0).multinomial(50, np.full(50, 0.02), size=300).astype(float)
    part = AmongOthers(Share(right[:20], patient[:20]), np.arange(30, 50))
    np.testing.assert_allclose(part(weights)["share"], Share(right[:20], patient[:20])(weights[:, 30:])["share"])


def test_patients_partly_in_both_count_where_they_have_images():
    patient = np.array([0, 0, 1, 2, 2, 3])
    view = np.array(["a", "b", "a", "a", "b", "b"])
    right = np.array([1, 0, 1, 0, 0, 1], dtype=bool)
    seen = []

    def measure(rows, clusters):
        seen.append((rows.tolist(), clusters.tolist()))
        return Share(right[rows], clusters)

    row = evaluate_subgroups(view, measure, patients=patient, options=FEW)["a"]
    assert seen[:2] == [([0, 2, 3], [0, 1, 2]), ([1, 4, 5], [0, 1, 2])]
    assert row["clusters_also_in_rest"] == 2
    assert row["difference_to_rest"]["share"]["value"] == pytest.approx(2 / 3 - 1 / 3)
    assert row["difference_to_rest"]["share"]["undefined_resamples"] > 0  # none of the subgroup's patients drawn


def test_unknown_groups_are_a_row_of_their_own_and_in_no_rest():
    right = np.array([1, 1, 0, 0, 0, 0], dtype=bool)
    groups = pd.Series(["F", "M", "M", None, "unknown", np.nan])
    result = evaluate_subgroups(groups, lambda rows, clusters: Share(right[rows], clusters), options=FEW)
    assert list(result) == ["F", "M", "unknown"]
    assert result["unknown"]["images"] == 3
    assert result["F"]["difference_to_rest"]["share"]["value"] == 0.5
    assert result["unknown"]["difference_to_rest"]["share"]["value"] == pytest.approx(-2 / 3)


def test_groups_may_be_categories_numbers_or_booleans():
    right = np.ones(4, dtype=bool)

    def names(groups):
        return list(evaluate_subgroups(groups, lambda rows, clusters: Share(right[rows], clusters), options=FEW))

    assert names(pd.Categorical(["young", "old", "old", None], ["young", "old", "none"])) == ["young", "old", "unknown"]
    assert names(age_bands([3, 90, None, 50], [18, 65])) == [
        "under 18 years", "18 to under 65 years", "65 years and over", "unknown",
    ]  # fmt: skip
    assert names(pd.Series([True, False, None, True], dtype="boolean")) == ["False", "True", "unknown"]
    assert names([2, 1, 1, 2]) == ["1", "2"]
    assert names(["one"] * 4) == ["one"]


def test_small_subgroups_are_warned_of():
    truth, probability, patient = example(patients=100)
    truth[patient >= 40] = False
    scanner = np.where(patient < 12, "small", np.where(patient < 60, "fair", "no positive"))
    result = evaluate_subgroups(scanner, binary_of(truth, probability), patients=patient, positive=truth, options=FEW)
    assert result["small"]["warning"].startswith("few patients: 12 in all (fewer than 30)")
    assert result["no positive"]["warning"] is None  # what needs positives is undefined, and says so
    assert result["no positive"]["metrics"]["recall"]["reason"] == "no image is positive"
    assert result["no positive"]["clusters_with_positive"] == 0
    assert result["no positive"]["clusters_without_positive"] == 40
    assert result["fair"]["warning"] is None
    strict = evaluate_subgroups(
        scanner, binary_of(truth, probability), patients=patient, positive=truth, min_patients=100,
        min_patients_of_either_kind=1, options=FEW,
    )  # fmt: skip
    assert strict["fair"]["warning"] == "few patients: 48 in all (fewer than 100)"
    without = evaluate_subgroups(scanner, binary_of(truth, probability), patients=patient, options=FEW)
    assert without["no positive"]["warning"] is None
    assert without["no positive"]["positives"] is None


def test_images_of_unknown_truth_count_for_neither_kind():
    right = np.ones(3, dtype=bool)
    row = evaluate_subgroups(
        ["a"] * 3, lambda rows, clusters: Share(right[rows], clusters), positive=[1, 0, None], options=FEW
    )["a"]
    assert (row["positives"], row["clusters_with_positive"], row["clusters_without_positive"]) == (1, 1, 1)


def test_a_patient_with_one_positive_image_is_with():
    right = np.ones(4, dtype=bool)
    row = evaluate_subgroups(
        ["a"] * 4,
        lambda rows, clusters: Share(right[rows], clusters),
        patients=["p", "p", "q", "q"],
        positive=[1, 0, 0, 0],
        options=FEW,
    )["a"]
    assert (row["positives"], row["clusters_with_positive"], row["clusters_without_positive"]) == (1, 1, 1)


def test_an_undefined_value_says_where():
    truth, probability, patient = example()
    truth[patient < 20] = False
    group = np.where(patient < 20, "a", "b")
    row = evaluate_subgroups(group, binary_of(truth, probability), patients=patient, options=FEW)["a"]
    assert row["metrics"]["auroc"]["reason"] == "no image is positive"
    assert row["difference_to_rest"]["auroc"]["reason"] == "in the subgroup: no image is positive"
    row = evaluate_subgroups(group, binary_of(truth, probability), patients=patient, options=FEW)["b"]
    assert row["difference_to_rest"]["auroc"]["reason"] == "in the rest: no image is positive"


def test_one_patient_has_no_interval():
    truth, probability, patient = example()
    group = np.where(patient == 0, "one", "others")
    result = evaluate_subgroups(group, binary_of(truth, probability), patients=patient, options=FEW)
    for row in result.values():
        difference = row["difference_to_rest"]["accuracy"]
        assert difference["value"] is not None
        assert (difference["low"], difference["high"]) == (None, None)
        assert "one cluster alone" in difference["reason"]
    assert result["one"]["metrics"]["accuracy"]["low"] is None


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_of_both_methods_cover_no_difference_where_there_is_none(method):
    truth, probability, patient = example(seed=4, patients=120)
    group = np.where(patient % 2 == 0, "a", "b")
    options = EvaluateOptions(bootstrap_resamples=300, interval_method=method)
    row = evaluate_subgroups(group, binary_of(truth, probability), patients=patient, options=options)["a"]
    for name in ("accuracy", "auroc", "brier"):
        difference = row["difference_to_rest"][name]
        assert difference["low"] < difference["value"] < difference["high"]
        assert difference["low"] < 0 < difference["high"]


def test_stratified_resamples_keep_both_kinds_of_patients_in_both_groups():
    right = np.array([True, False] * 40)
    group = np.repeat(["a", "b"], 40)
    options = EvaluateOptions(bootstrap_resamples=100, stratified=True)
    row = evaluate_subgroups(
        group, lambda rows, clusters: Share(right[rows], clusters), positive=right, options=options
    )["a"]
    for part in (row["metrics"]["share"], row["difference_to_rest"]["share"]):
        assert part["low"] == part["value"] == part["high"]


def test_other_tasks_are_measured_too():
    truth, probability, patient = example()
    both, table = np.stack([truth, ~truth], axis=1).astype(float), np.stack([probability, 1 - probability], axis=1)
    group = np.where(patient % 2 == 0, "a", "b")
    labels = evaluate_subgroups(
        group,
        lambda rows, clusters: MultilabelMetrics(both[rows], table[rows] >= 0.5, table[rows], ["x", "y"], clusters),
        patients=patient, options=FEW,
    )["a"]  # fmt: skip
    classes = evaluate_subgroups(
        group,
        lambda rows, clusters: MulticlassMetrics(
            (~truth[rows]).astype(int), table[rows].argmax(axis=1), table[rows], ["x", "y"], clusters
        ),
        patients=patient, options=FEW,
    )["a"]  # fmt: skip
    single = evaluate_subgroups(group, binary_of(truth, probability), patients=patient, options=FEW)["a"]
    for part in ("metrics", "difference_to_rest"):
        for key in ("value", "low", "high"):
            auroc = single[part]["auroc"][key]
            assert labels[part]["per_class.x.auroc"][key] == pytest.approx(auroc)
            assert classes[part]["per_class.x.auroc"][key] == pytest.approx(auroc)


def test_no_images_have_no_subgroups():
    assert evaluate_subgroups([], lambda rows, clusters: Share(rows, clusters)) == {}


# Bands


def test_an_age_at_an_edge_is_in_the_upper_band():
    bands = age_bands([17.9, 18, 39.99, 40, 65, 100, np.nan, None], (18, 40, 65))
    assert bands.tolist()[:6] == [
        "under 18 years",
        "18 to under 40 years",
        "18 to under 40 years",
        "40 to under 65 years",
        "65 years and over",
        "65 years and over",
    ]
    assert bands.codes.tolist()[6:] == [-1, -1]
    assert bands.ordered
    assert age_bands(pd.array([4, pd.NA], dtype="Int64"), [2.5]).tolist()[0] == "2.5 years and over"
    assert len(age_bands([], [18])) == 0


def test_lesions_are_cut_at_their_terciles():
    sizes = np.concatenate([np.zeros(50), np.arange(1, 31), [np.nan]])
    bands = lesion_size_bands(sizes)
    assert list(bands.categories) == ["no lesion", "under 10.7 px", "10.7 to under 20.3 px", "20.3 px and over"]
    assert np.bincount(bands.codes[bands.codes >= 0]).tolist() == [50, 10, 10, 10]
    assert bands.codes[-1] == -1
    assert lesion_size_bands([0, 5, 5, 5]).tolist() == ["no lesion", *["5 px and over"] * 3]
    assert lesion_size_bands([0.0, None]).tolist()[0] == "no lesion"
    assert list(lesion_size_bands([0.001, 0.02], edges=[0.01], unit="").categories) == [
        "no lesion", "under 0.01", "0.01 and over",
    ]  # fmt: skip
    assert lesion_size_bands([], [10]).tolist() == []


@settings(max_examples=60)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6), st.integers(0, 5)), max_size=30))
def test_every_known_size_is_in_one_band(sizes):
    bands = lesion_size_bands(sizes)
    assert [code == -1 for code in bands.codes] == [size is None for size in sizes]
    assert [band == "no lesion" for band in bands] == [size == 0 for size in sizes]
    order = [code for size, code in sorted((size, code) for size, code in zip(sizes, bands.codes, strict=True) if size)]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m: evaluate_subgroups([None, None], m), "groups: found null for all 2 images; expected the subgroup"),
        (lambda m: evaluate_subgroups(["a", "b"], m, patients=["p"]), "patients: found 1 entries; expected 2"),
        (lambda m: evaluate_subgroups(["a", "b"], m, positive=[1]), "groups and positive: found lengths groups 2, p"),
        (lambda m: evaluate_subgroups(["a"], m, positive=[2]), "positive: row 0: found 2.0; expected 0, 1, or null"),
        (
            lambda m: evaluate_subgroups(["a"], m, options=EvaluateOptions(stratified=True)),
            "stratified: found no positive; expected whether each image is positive",
        ),
        (lambda m: age_bands([4, -1], [18]), "ages: row 1: found -1; expected a number of at least 0, or null"),
        (lambda m: age_bands([4, "adult", "x"], [18]), "ages: row 1: found adult (and 1 more); expected a number"),
        (lambda m: age_bands([np.inf], [18]), "ages: row 0: found inf"),
        (lambda m: age_bands([4], [40, 18]), "edges: found 40, 18; expected numbers above 0 that rise"),
        (lambda m: age_bands([4], [0, 18]), "edges: found 0, 18; expected numbers above 0 that rise"),
        (lambda m: lesion_size_bands([-3]), "sizes: row 0: found -3; expected a number of at least 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, says):
    with pytest.raises(InputError) as caught:
        call(lambda rows, clusters: Share(np.ones(len(rows)), clusters))
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_the_module_warns_of_multiple_comparisons():
    assert "multiple comparisons" in subgroups.__doc__
