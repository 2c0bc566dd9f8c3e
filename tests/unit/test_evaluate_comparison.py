"""Two classifiers in one call: the parts are those of the functions that it calls."""

import json

import numpy as np
import pytest
from scipy.stats import rankdata
from simulated_patients import draw_patients
from sklearn import metrics as sk

from scanline.core.errors import InputError
from scanline.evaluate.binary import METRICS, BinaryMetrics
from scanline.evaluate.comparison import compare_binary
from scanline.evaluate.delong import delong_test
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.paired import both_models, clustered_mcnemar_test, mcnemar_test, permutation_test

OPTIONS = EvaluateOptions(bootstrap_resamples=300)


def two_models(patients=30, seed=0):
    """Truth, probabilities of two models of which the first is better, patients."""
    generator = np.random.default_rng(seed)
    truth, score, patient = draw_patients(generator, patients, 5, 0.4, separation=2)
    worse = score + generator.normal(0, 1.5, len(score))
    return truth, *(1 / (1 + np.exp(-one)) for one in (score, worse)), patient


def test_every_part_is_that_of_its_own_function():
    truth, first, second, patient = two_models()
    result = compare_binary(truth, first, second, thresholds=(0.4, 0.6), patients=patient, options=OPTIONS)
    assert (result["images"], result["clusters"]) == (150, 30)
    assert result["auroc"] == delong_test(truth, first, second, patient).as_json()
    right = (first >= 0.4) == truth, (second >= 0.6) == truth
    assert result["accuracy"] == clustered_mcnemar_test(*right, patient).as_json()
    rows = result["metrics"]
    assert list(rows) == list(METRICS)
    for name, metric in (("f1", sk.f1_score), ("mcc", sk.matthews_corrcoef), ("precision", sk.precision_score)):
        values = metric(truth, first >= 0.4), metric(truth, second >= 0.6)
        assert [rows[name]["first"], rows[name]["second"]] == pytest.approx(list(values), abs=1e-12)
        assert rows[name]["value"] == pytest.approx(values[0] - values[1], abs=1e-12)
        assert rows[name]["low"] < rows[name]["value"] < rows[name]["high"]
    json.dumps(result, allow_nan=False)


def test_areas_are_swapped_as_ranks():
    """A model whose probabilities are all tiny ranks as before: nothing changes in the areas, but in Brier."""
    truth, first, second, patient = two_models()
    plain = compare_binary(truth, first, second, patients=patient, options=OPTIONS)["metrics"]
    squeezed = compare_binary(truth, first, second / 1000, patients=patient, options=OPTIONS)["metrics"]
    for name in ("auroc", "auprc"):
        assert squeezed[name] == pytest.approx(plain[name])
    assert squeezed["brier"]["value"] != plain["brier"]["value"]
    ranks = np.concatenate([rankdata(first), rankdata(second)]) / 150
    both = BinaryMetrics(np.tile(truth, 2), ranks > 0.5, ranks, both_models(patient))
    assert plain["auprc"]["p"] == permutation_test(both, 30, "compare_binary")["auprc"].p


def test_images_without_patients_stand_alone():
    truth, first, second, _ = two_models()
    result = compare_binary(truth, first, second, options=OPTIONS, permutations=50)
    assert result["clusters"] == 150
    assert result["accuracy"] == mcnemar_test((first >= 0.5) == truth, (second >= 0.5) == truth).as_json()
    assert result["auroc"]["method"] == "delong"


def test_options_reach_the_parts():
    truth, first, second, patient = two_models()
    given = {"patients": patient, "permutations": 50}
    plain = compare_binary(truth, first, second, options=OPTIONS, **given)
    for name, value in (("interval_method", "bca"), ("stratified", True), ("confidence_level", 0.8), ("seed", 1)):
        options = OPTIONS.model_copy(update={name: value})
        other = compare_binary(truth, first, second, options=options, **given)
        assert other["metrics"]["auroc"]["low"] != plain["metrics"]["auroc"]["low"], name
        assert (other["auroc"] == plain["auroc"]) == (name != "confidence_level")
    named = compare_binary(truth, first, second, options=OPTIONS, stream=("other",), **given)
    assert named["metrics"]["auroc"]["low"] != plain["metrics"]["auroc"]["low"]


def test_what_is_undefined_has_its_reason():
    result = compare_binary([1, 1, 1], [0.9, 0.8, 0.1], [0.2, 0.1, 0.3], options=OPTIONS)
    auroc = result["metrics"]["auroc"]
    assert (auroc["first"], auroc["value"], auroc["p"]) == (None, None, None)
    assert (auroc["reason"], auroc["p_reason"]) == (
        "no image is negative", "undefined for the first and the second model",
    )  # fmt: skip
    assert result["metrics"]["precision"]["reason"] == "second: no image is predicted positive"
    empty = compare_binary([], [], [], options=OPTIONS)
    assert empty["metrics"]["accuracy"]["reason"] == "there are no images"
    assert empty["accuracy"]["reason"] == "there are no images"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1], [0.1, 0.2], [0.3]), {}, "truth and first and second: found lengths truth 2, first 2, second 1"),
        (([0, 1], [0.1, 1.2], [0.3, 0.4]), {}, "first: row 1: found 1.2; expected a number from 0 to 1"),
        (([0, 1], [0.1, 0.2], [0.3, None]), {}, "second: row 1: found nan"),
        (([0, 3], [0.1, 0.2], [0.3, 0.4]), {}, "truth: row 1: found 3.0"),
        (([0, 1], [0.1, 0.2], [0.3, 0.4]), {"thresholds": (0.5, 50)}, "threshold: found 50; expected a number"),
        (([0, 1], [0.1, 0.2], [0.3, 0.4]), {"patients": ["a"]}, "patients: found 1 entries"),
    ],
)
def test_wrong_input_is_refused_in_one_line(arguments, options, message):
    with pytest.raises(InputError) as refused:
        compare_binary(*arguments, **options)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
