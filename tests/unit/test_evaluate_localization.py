"""The pointing game and the mass inside the lesion, against brute force on a grid fine enough to be exact."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.core.errors import InputError
from scanline.evaluate.localization import (
    LocalizationStatistic,
    evaluate_localization,
    lesion_of_boxes,
    lesion_of_mask,
    measure_localization,
)
from scanline.evaluate.options import EvaluateOptions

SEEDS = st.integers(0, 2**32 - 1)
OPTIONS = EvaluateOptions(bootstrap_resamples=100)


def random_case(seed):
    """A map and a mask of sizes that need not divide each other."""
    generator = np.random.default_rng(seed)
    mask = generator.random(generator.integers(1, 13, 2)) < generator.choice([0, 0.1, 0.5, 1], p=[0.1, 0.4, 0.4, 0.1])
    activation = generator.choice([0, 0.25, 0.5, 1], generator.integers(1, 6, 2), p=[0.4, 0.2, 0.2, 0.2])
    return activation, mask


def by_brute_force(activation, mask, tolerance):
    (h, w), (height, width) = activation.shape, mask.shape
    fine_map = np.kron(activation, np.ones((height, width)))
    fine_mask = np.kron(mask, np.ones((h, w)))
    near = np.zeros((h, w), bool)
    for i, j in np.ndindex(h, w):
        y, x = (i + 0.5) * height / h, (j + 0.5) * width / w
        for r, c in np.argwhere(mask):
            away = max(r - y, y - r - 1, 0), max(c - x, x - c - 1, 0)
            near[i, j] |= np.hypot(*away) <= tolerance + 1e-9
    defined = mask.any() and activation.any()
    return {
        "pointing_hit": near[activation == activation.max()].mean() if defined else np.nan,
        "pointing_chance": near.mean(),
        "mass_inside": (fine_map * fine_mask).sum() / fine_map.sum() if defined else np.nan,
        "lesion_share": mask.mean(),
    }


@settings(max_examples=200)
@given(SEEDS, st.sampled_from([0.0, 0.3, 1.1, 4.7]))
def test_measures_equal_brute_force(seed, tolerance):
    activation, mask = random_case(seed)
    row = measure_localization(activation, lesion_of_mask(mask), tolerance_px=tolerance)
    for name, value in by_brute_force(activation, mask, tolerance).items():
        assert row[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name
        assert np.isnan(row[name]) or 0 <= row[name] <= 1
    assert (row["reason"] is None) == (not np.isnan(row["pointing_hit"]))


@settings(max_examples=100)
@given(SEEDS, st.sampled_from([0.0, 1.5]))
def test_boxes_on_pixel_edges_equal_the_mask_they_cover(seed, tolerance):
    generator = np.random.default_rng(seed)
    height, width = (int(side) for side in generator.integers(2, 20, 2))
    mask, boxes = np.zeros((height, width), bool), []
    for _ in range(generator.integers(0, 4)):
        y, x = int(generator.integers(height)), int(generator.integers(width))
        tall, wide = int(generator.integers(1, height + 3)), int(generator.integers(1, width + 3))
        mask[y : y + tall, x : x + wide] = True
        boxes.append([x, y, wide, tall])
    activation = generator.random(generator.integers(1, 7, 2))
    table = pd.DataFrame(boxes, columns=["x", "y", "width", "height"])
    expected = measure_localization(activation, lesion_of_mask(mask), tolerance_px=tolerance)
    for given_boxes in (boxes, table, table.assign(label="bleed")[["label", "height", "y", "width", "x"]]):
        row = measure_localization(activation, lesion_of_boxes(given_boxes, height, width), tolerance_px=tolerance)
        for name, value in expected.items():
            same = row[name] == value if name == "reason" else row[name] == pytest.approx(value, abs=1e-12, nan_ok=True)
            assert same, name


def test_boxes_are_continuous():
    lesion = lesion_of_boxes([[2.5, 0, 3, 8]], height=8, width=8)
    row = measure_localization(np.array([[1.0, 0.0]]), lesion)
    assert row["mass_inside"] == pytest.approx(1.5 / 4)
    assert row["lesion_share"] == pytest.approx(3 / 8)
    assert row["pointing_hit"] == 0  # the centre of the left cell is at x = 2
    assert measure_localization(np.array([[1.0, 0.0]]), lesion, tolerance_px=0.5)["pointing_hit"] == 1
    assert measure_localization(np.array([[1.0, 0.0]]), lesion, tolerance_px=0.49)["pointing_hit"] == 0


def test_boxes_that_overlap_count_once():
    one = measure_localization(np.ones((2, 2)), lesion_of_boxes([[0, 0, 4, 4]], 8, 8))
    two = measure_localization(np.ones((2, 2)), lesion_of_boxes([[0, 0, 4, 4], [1, 1, 3, 3], [0, 0, 4, 2]], 8, 8))
    assert one == two
    assert one["mass_inside"] == one["lesion_share"] == 0.25


def test_a_centre_on_the_edge_of_the_lesion_lies_in_it():
    for width, cells in ((3, 5), (7, 5), (14, 15), (10, 4)):
        edges = {(2 * cell + 1) * width / (2 * cells) for cell in range(cells)} & set(range(1, width))
        mask = np.ones((1, width), bool)
        for edge in edges:
            left, right = mask.copy(), mask.copy()
            left[:, int(edge) :], right[:, : int(edge)] = False, False
            chances = [measure_localization(np.ones((1, cells)), lesion_of_mask(side)) for side in (left, right)]
            assert sum(row["pointing_chance"] for row in chances) == pytest.approx(1 + 1 / cells)


def test_a_centre_at_the_tolerance_lies_within_it():
    assert 1.3 - 1 > 0.3  # in binary fractions
    mask = np.zeros((13, 1), bool)
    mask[0] = True
    for turned in (mask, mask.T):
        activation = np.eye(1, 5).T if turned is mask else np.eye(1, 5)  # the first of five cells, centred at 1.3
        assert measure_localization(activation, lesion_of_mask(turned), tolerance_px=0.3)["pointing_hit"] == 1
        assert measure_localization(activation, lesion_of_mask(turned), tolerance_px=0.29)["pointing_hit"] == 0


def test_rows_are_heights_and_columns_widths():
    activation = np.zeros((3, 5))
    activation[2, 0] = 1
    mask = np.zeros((30, 20), bool)
    mask[21:29, 1:3] = True
    row = measure_localization(activation, lesion_of_mask(mask))
    assert row["pointing_hit"] == 1
    assert row["mass_inside"] == pytest.approx(16 / 40)
    assert measure_localization(activation[::-1], lesion_of_mask(mask))["pointing_hit"] == 0


def test_cells_that_share_the_maximum_share_the_hit():
    lesion = lesion_of_boxes([[0, 0, 8, 8]], 8, 32)
    assert measure_localization([[0.5, 0.5, 0.5, 0.2]], lesion)["pointing_hit"] == pytest.approx(1 / 3)
    flat = measure_localization([[0.5] * 4], lesion)
    assert flat["pointing_hit"] == flat["pointing_chance"] == flat["mass_inside"] == flat["lesion_share"] == 0.25


def test_a_map_of_zeros_and_an_image_without_lesion_are_undefined():
    for lesion, activation, reason in (
        (lesion_of_mask(np.ones((4, 4), bool)), np.zeros((2, 2)), "the map is zero everywhere"),
        (lesion_of_mask(np.zeros((4, 4), bool)), np.ones((2, 2)), "the image has no lesion"),
        (lesion_of_boxes([], 4, 4), np.ones((2, 2)), "the image has no lesion"),
    ):
        row = measure_localization(activation, lesion)
        assert row["reason"] == reason
        assert np.isnan(row["pointing_hit"])
        assert np.isnan(row["mass_inside"])
        assert row["lesion_share"] in (0, 1)


def random_rows(seed, images=20):
    generator = np.random.default_rng(seed)
    rows = []
    for image in range(images):
        activation, mask = random_case(generator.integers(2**32))
        patient = None if generator.random() < 0.2 else f"p{generator.integers(6)}"
        row = measure_localization(activation, lesion_of_mask(mask), tolerance_px=0.5)
        rows.append({"image_id": f"i{image}", "patient_id": patient, **row})
    return pd.DataFrame(rows)


@settings(max_examples=15)
@given(SEEDS)
def test_averages_are_over_the_images_in_which_they_are_defined(seed):
    table = random_rows(seed)
    result = evaluate_localization(table, OPTIONS)
    json.dumps(result, allow_nan=False)
    measured = table[table["reason"].isna()]
    assert (result["images"], result["measured"]) == (20, len(measured))
    assert result["undefined"] == table["reason"].value_counts().to_dict()
    metrics = {name: entry["value"] for name, entry in result["metrics"].items()}
    assert metrics["pointing_game"] == pytest.approx(measured["pointing_hit"].mean())
    assert metrics["pointing_chance"] == pytest.approx(measured["pointing_chance"].mean())
    assert metrics["mass_inside"] == pytest.approx(measured["mass_inside"].mean())
    assert metrics["lesion_share"] == pytest.approx(measured["lesion_share"].mean())
    difference = (measured["pointing_hit"] - measured["pointing_chance"]).mean()
    assert metrics["pointing_above_chance"] == pytest.approx(difference)
    assert metrics["mass_above_chance"] == pytest.approx((measured["mass_inside"] - measured["lesion_share"]).mean())


def test_resampling_equals_explicit_repetition_of_patients():
    table = random_rows(1)
    table = table[table["reason"].isna()].reset_index(drop=True)
    clusters = np.arange(len(table)) % 5
    weights = np.random.default_rng(0).integers(0, 4, (10, 5)).astype(float)
    resampled = LocalizationStatistic(table, clusters)(weights)
    for row, counts in enumerate(weights.astype(int)):
        repeated = table.loc[np.repeat(np.arange(len(table)), counts[clusters])]
        expected = LocalizationStatistic(repeated, np.arange(len(repeated)))(np.ones((1, len(repeated))))
        for name, value in expected.items():
            assert resampled[name][row] == pytest.approx(value[0], abs=1e-12), name


def test_images_of_one_patient_are_one_unit():
    table = random_rows(2).assign(patient_id="p")
    result = evaluate_localization(table, OPTIONS)
    assert result["clusters"] == 1
    assert result["metrics"]["pointing_game"]["reason"] == "one cluster alone: nothing to resample"


def test_nothing_measured_is_null_with_the_reason():
    row = measure_localization(np.zeros((2, 2)), lesion_of_mask(np.ones((4, 4), bool)))
    result = evaluate_localization(pd.DataFrame([{"image_id": "a", "patient_id": None, **row}]), OPTIONS)
    assert (result["measured"], result["undefined"]) == (0, {"the map is zero everywhere": 1})
    assert result["metrics"]["pointing_game"]["value"] is None
    reason = result["metrics"]["mass_above_chance"]["reason"]
    assert reason == "no image has a lesion and a map that is not zero everywhere"


LESION = lesion_of_mask(np.ones((4, 4), bool))
ROWS = random_rows(3, images=2)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda: measure_localization(np.array([[0.5, 1.5]]), LESION, where="map of image a"),
            "map of image a: row 0: found 1.5; expected a number from 0 to 1.",
        ),
        (
            lambda: measure_localization(np.array([[0.5, np.nan]]), LESION),
            "class activation map: row 0: found nan; expected a number from 0 to 1.",
        ),
        (lambda: measure_localization(np.ones(3), LESION), "class activation map: found shape (3,); expected (h, w),"),
        (
            lambda: measure_localization(np.ones((0, 3)), LESION),
            "class activation map: found shape (0, 3); expected (h, w)",
        ),
        (
            lambda: measure_localization(np.ones((2, 2)), LESION, tolerance_px=-1),
            "tolerance_px: found -1; expected a finite number, at least 0.",
        ),
        (lambda: lesion_of_mask(np.ones((2, 2, 2), bool)), "mask: found shape (2, 2, 2); expected (height, width)."),
        (lambda: lesion_of_boxes([[1, 1, 1]], 4, 4), "boxes: found shape (1, 3); expected (boxes, 4)."),
        (
            lambda: lesion_of_boxes([[0, 0, 1, 1], [5, 0, 1, 1]], 4, 4),
            "boxes: row 1: found x 5, y 0, width 1, height 1; expected a box with an area inside the image of 4 x 4",
        ),
        (
            lambda: lesion_of_boxes([[0, 0, 0, 1]], 4, 4),
            "boxes: row 0: found x 0, y 0, width 0, height 1; expected a box",
        ),
        (
            lambda: lesion_of_boxes([[0, np.nan, 1, 1]], 4, 4),
            "boxes: row 0: found x 0, y nan, width 1, height 1; expected",
        ),
        (lambda: lesion_of_boxes([], 0, 4), "image size: found 0 x 4; expected a positive height and width."),
        (
            lambda: lesion_of_boxes(pd.DataFrame({"x": [1], "y": [1]}), 4, 4),
            "boxes: columns: found x, y; expected width, height as well.",
        ),
        (
            lambda: evaluate_localization(ROWS[["image_id"]]),
            "localization: columns: found image_id; expected patient_id,",
        ),
        (lambda: evaluate_localization(ROWS[:0]), "localization: found no images; expected at least one."),
        (
            lambda: evaluate_localization(pd.concat([ROWS, ROWS])),
            "localization: image i0: found it again; expected each image once.",
        ),
    ],
)
def test_bad_input_is_one_clear_line(call, line):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value).startswith(line)
    assert len(str(error.value).splitlines()) == 1
