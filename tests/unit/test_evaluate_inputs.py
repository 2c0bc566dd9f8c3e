"""What evaluation refuses, and that each refusal is one line that says where."""

import numpy as np
import pandas as pd
import pytest

from scanline.core.errors import InputError
from scanline.evaluate.inputs import (
    as_clusters,
    as_partial_truth,
    as_probability,
    as_scores,
    as_truth,
    check_lengths,
)

NULLABLE = pd.Series([True, None, False], dtype="boolean")


@pytest.mark.parametrize(
    ("read", "values", "message"),
    [
        (as_truth, [0, 1, None], "truth: row 2: found nan; expected 0 or 1, known for every image"),
        (as_truth, NULLABLE, "truth: row 1: found nan; expected 0 or 1"),
        (as_truth, [0, 2, 3], "truth: row 1: found 2.0 (and 1 more); expected 0 or 1"),
        (as_truth, ["yes", "no"], "truth: found 'yes'; expected numbers"),
        (as_partial_truth, [[0, 1], [0.5, None]], "truth: row 1: found 0.5; expected 0, 1, or null"),
        (as_probability, [0.1, 1.2], "probability: row 1: found 1.2; expected a number from 0 to 1"),
        (as_probability, [0.1, -1e-9], "probability: row 1: found -1e-09; expected a number from 0 to 1"),
        (as_probability, [float("nan")], "probability: row 0: found nan; expected a number from 0 to 1"),
        (as_scores, [0.1, float("inf")], "score: row 1: found inf; expected a finite number"),
        (as_scores, [None, 0.1], "score: row 0: found nan; expected a finite number"),
    ],
)
def test_wrong_values_are_refused_in_one_line(read, values, message):
    with pytest.raises(InputError) as caught:
        read(values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_columns_are_named():
    with pytest.raises(InputError, match=r"row 1, edema: found 3\.0"):
        as_probability(np.array([[0.1, 0.2], [0.3, 3.0]]), names=["mass", "edema"])


@pytest.mark.parametrize("values", [[True, False], [1, 0], [1.0, 0.0], pd.Series([True, False], dtype="boolean")])
def test_truth_of_every_type_is_read(values):
    assert as_truth(values).tolist() == [True, False]
    assert as_truth(values).dtype == bool


def test_unknown_truth_stays_unknown():
    np.testing.assert_array_equal(as_partial_truth(NULLABLE), [1, np.nan, 0])
    np.testing.assert_array_equal(as_partial_truth(NULLABLE.to_frame()), [[1], [np.nan], [0]])
    assert as_partial_truth(pd.DataFrame({"a": []})).size == 0


def test_lengths_that_differ_are_named():
    assert check_lengths(truth=[1, 2], score=(3, 4), patients=None) == 2
    with pytest.raises(InputError, match="found lengths truth 2, score 1; expected one length for all"):
        check_lengths(truth=[1, 2], score=[3])


def test_clusters_are_numbered_by_their_first_image_and_not_by_name():
    assert as_clusters(["b", "a", "b", "c"], 4).tolist() == [0, 1, 0, 2]
    assert as_clusters(["x", "q", "x", "d"], 4).tolist() == [0, 1, 0, 2]


def test_images_of_no_known_patient_are_clusters_of_their_own():
    assert as_clusters(["b", None, "b", float("nan"), pd.NA, 1], 6).tolist() == [0, 1, 0, 2, 3, 4]
    assert as_clusters(pd.Series([None, None], dtype="str"), 2).tolist() == [0, 1]
    assert as_clusters(None, 3).tolist() == [0, 1, 2]
    assert as_clusters([None, 0], 2).tolist() == [0, 1]  # the number of an image is no patient's id
    assert len(as_clusters([], 0)) == 0


def test_one_patient_is_wanted_for_each_image():
    with pytest.raises(InputError, match="patients: found 2 entries; expected 3, one for each image"):
        as_clusters(["a", "b"], 3)
