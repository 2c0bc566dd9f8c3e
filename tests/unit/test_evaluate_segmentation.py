"""Segmentation metrics against scikit-learn and stacked arrays; resampling against explicit repetition."""

import json
import weakref

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from surface_distance import metrics as reference

from scanline.core.errors import InputError
from scanline.evaluate.inputs import as_clusters
from scanline.evaluate.lesions import count_lesions
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.segmentation import SegmentationStatistic, evaluate_segmentation, weighted_median
from scanline.evaluate.segmentation_cases import CASE_METRICS, MaskPair, measure_case, measure_cases
from scanline.evaluate.surfaces import hd95, surface_dice

SEEDS = st.integers(0, 2**32 - 1)
OPTIONS = EvaluateOptions(bootstrap_resamples=100)
pytestmark = pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")


def random_masks(generator, shape):
    """Truth and prediction that overlap, either of them empty or full now and then."""
    truth = generator.random(shape) < generator.choice([0, 0.05, 0.3, 0.6, 1], p=[0.2, 0.2, 0.3, 0.2, 0.1])
    predicted = truth ^ (generator.random(shape) < generator.choice([0, 0.1, 0.5]))
    return truth, predicted & (generator.random() > 0.2)


def random_pairs(seed, *, patients=5, spacing_mm=(4.0, 0.5, 0.5), gaps=False):
    """Images by themselves and slices of volumes, some of unknown truth or patient, some volumes with gaps."""
    generator = np.random.default_rng(seed)
    pairs = []
    for patient in range(patients):
        name = None if generator.random() < 0.2 else f"p{patient}"
        for volume in range(generator.integers(0, 3)):
            shape = tuple(generator.integers(3, 8, 2))
            for index in range(generator.integers(1, 4)):
                truth, predicted = random_masks(generator, shape)
                truth = None if generator.random() < 0.1 else truth
                place = index * (1 + (gaps and volume))
                ids = f"{patient}/{volume}/{index}", predicted, truth, name, f"v{patient}/{volume}", place
                pairs.append(MaskPair(*ids, spacing_mm))
        for image in range(generator.integers(1, 3)):
            truth, predicted = random_masks(generator, (6, 7))
            truth = None if generator.random() < 0.1 else truth
            pairs.append(MaskPair(f"{patient}/{image}", predicted, truth, name, spacing_mm=spacing_mm))
    return pairs


def blob(shift=0, size=16):
    mask = np.zeros((size, size), bool)
    mask[4:10, 4:10] = True
    return np.roll(mask, shift, axis=1)


# One case


@settings(max_examples=120)
@given(SEEDS)
def test_overlaps_equal_scikit_learn(seed):
    truth, predicted = random_masks(np.random.default_rng(seed), (7, 9))
    row = measure_case(truth, predicted)
    t, p = truth.ravel(), predicted.ravel()
    tn, fp, fn, tp = sk.confusion_matrix(t, p, labels=[False, True]).ravel()
    assert [row[name] for name in ("tp", "fp", "fn", "tn")] == [tp, fp, fn, tn]
    expected = {
        "dice": sk.f1_score(t, p, zero_division=np.nan),
        "iou": sk.jaccard_score(t, p, zero_division=0) if (t | p).any() else np.nan,
        "sensitivity": sk.recall_score(t, p, zero_division=np.nan),
        "specificity": sk.recall_score(t, p, pos_label=False, zero_division=np.nan),
        "precision": sk.precision_score(t, p, zero_division=np.nan),
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name
    assert row["volume_difference"] == predicted.sum() - truth.sum()
    assert row["absolute_volume_difference"] == abs(row["volume_difference"])


@settings(max_examples=100)
@given(SEEDS, st.sampled_from([None, (0.5, 0.5), (0.4, 0.7)]))
def test_distances_and_lesions_of_an_image_equal_their_references(seed, spacing):
    truth, predicted = random_masks(np.random.default_rng(seed), (12, 10))
    row = measure_case(truth, predicted, spacing_mm=spacing, tolerance=1.3)
    assert row["distance_unit"] == ("px" if spacing is None else "mm")
    if truth.any() and predicted.any():
        distances = reference.compute_surface_distances(truth, predicted, spacing or (1, 1))
        assert row["hd95"] == pytest.approx(reference.compute_robust_hausdorff(distances, 95), rel=1e-12)
        expected = reference.compute_surface_dice_at_tolerance(distances, 1.3 * (1 + 1e-9))
        assert row["surface_dice"] == pytest.approx(expected, rel=1e-12)
        assert row["hd95_reason"] is None
    lesions = count_lesions(truth, predicted)
    counted = [row[f"{name}_lesions"] for name in ("truth", "found", "predicted", "false")]
    assert counted == [lesions.truth, lesions.found, lesions.predicted, lesions.false]


def test_a_missed_lesion_has_dice_0_and_no_distance():
    row = measure_case(blob(), blob() & False)
    assert (row["kind"], row["hd95_reason"]) == ("lesion_positive", "the predicted mask is empty")
    assert row["dice"] == row["iou"] == row["sensitivity"] == row["surface_dice"] == 0
    assert row["specificity"] == 1
    assert np.isnan(row["hd95"])
    assert np.isnan(row["precision"])
    assert row["relative_volume_difference_percent"] == -100


def test_an_empty_truth_is_a_kind_of_its_own():
    right, wrong = measure_case(blob() & False, blob() & False), measure_case(blob() & False, blob())
    assert right["kind"] == wrong["kind"] == "empty_true"
    assert right["hd95_reason"] == wrong["hd95_reason"] == "the true mask is empty"
    assert all(np.isnan(right[name]) for name in ("dice", "iou", "sensitivity", "precision", "hd95", "surface_dice"))
    assert wrong["dice"] == wrong["iou"] == wrong["surface_dice"] == 0
    assert np.isnan(wrong["sensitivity"])
    assert (wrong["volume_difference"], wrong["false_lesions"], wrong["fp"]) == (36, 1, 36)
    assert np.isnan(wrong["relative_volume_difference_percent"])


def test_an_unknown_truth_says_nothing_but_what_was_predicted():
    row = measure_case(None, blob())
    assert (row["kind"], row["predicted_pixels"]) == ("unknown", 36)
    assert all(np.isnan(row[name]) for name in CASE_METRICS)
    assert row["tp"] is row["tn"] is row["truth_lesions"] is None


def test_volumes_are_in_ml_where_all_spacings_are_known():
    row = measure_case(blob(), blob() & False, spacing_mm=(5, 0.5, 0.4))
    assert (row["volume_unit"], row["distance_unit"]) == ("ml", "mm")
    assert row["volume_difference"] == pytest.approx(-36 * 5 * 0.5 * 0.4 / 1000, rel=1e-12)
    assert row["absolute_volume_difference"] == -row["volume_difference"]
    assert measure_case(blob(), blob(2), spacing_mm=(5, 0.5, 0.4))["hd95"] == pytest.approx(0.8)
    assert measure_case(blob(), blob(), spacing_mm=(0.5, 0.4))["volume_unit"] == "px"


def test_all_ways_to_write_a_mask_give_one_row():
    rows = [
        measure_case(truth, predicted)
        for truth in (blob(), blob().astype(np.uint8), blob() * np.uint8(255))
        for predicted in (blob(3), blob(3).astype(np.uint8), blob(3) * np.uint8(255))
    ]
    assert all(row == rows[0] for row in rows)


# Volumes


@settings(max_examples=30)
@given(SEEDS)
def test_volume_metrics_equal_those_of_the_stacked_slices(seed):
    pairs = random_pairs(seed)
    cases = measure_cases(pairs, tolerance=1.5)
    images = cases.images.set_index("image_id")
    assert list(images.index) == [pair.image_id for pair in pairs]
    for volume in cases.volumes.to_dict("records"):
        slices = [pair for pair in pairs if pair.volume_id == volume["volume_id"]]
        parts = images.loc[[pair.image_id for pair in slices]]
        assert volume["slices"] == len(slices)
        assert volume["predicted_pixels"] == parts["predicted_pixels"].sum()
        if any(pair.truth is None for pair in slices):
            assert volume["kind"] == "unknown"
            continue
        truth, predicted = (np.stack([getattr(pair, name) for pair in slices]) for name in ("truth", "predicted"))
        row = measure_case(truth, predicted, spacing_mm=(4.0, 0.5, 0.5), tolerance=1.5)
        for name, value in row.items():
            assert volume[name] == value or (pd.isna(volume[name]) and pd.isna(value)), name
        assert volume["tp"] == parts["tp"].sum()
        assert volume["volume_difference"] == pytest.approx(parts["volume_difference"].sum(), abs=1e-12)
        assert volume["dice"] == pytest.approx(
            sk.f1_score(truth.ravel(), predicted.ravel(), zero_division=np.nan), abs=1e-12, nan_ok=True
        )
        assert volume["hd95"] == pytest.approx(hd95(truth, predicted, (4, 0.5, 0.5)), nan_ok=True)
        expected = surface_dice(truth, predicted, 1.5, (4, 0.5, 0.5))
        assert volume["surface_dice"] == pytest.approx(expected, nan_ok=True)


def slices(truths, **given):
    return [
        MaskPair(f"s{number}", blob(1), truth, "p", "v", **({"slice_index": number} | given))
        for number, truth in enumerate(truths)
    ]


def test_a_volume_without_slice_spacing_has_no_3d_surface_but_its_slices_have():
    for spacing, unit in ((None, "px"), ((0.5, 0.5), "mm")):
        cases = measure_cases(slices([blob(), blob()], spacing_mm=spacing))
        volume = cases.volumes.iloc[0]
        assert volume["hd95_reason"] == "the spacing of the slices is not known"
        assert np.isnan(volume["hd95"])
        assert np.isnan(volume["surface_dice"])
        assert (volume["volume_unit"], volume["truth_lesions"], volume["dice"]) == ("px", 1, pytest.approx(30 / 36))
        assert cases.images["distance_unit"].tolist() == [unit, unit]
        assert cases.images["hd95"].notna().all()


def test_a_volume_with_missing_slices_has_sums_alone():
    pairs = [MaskPair(f"s{index}", blob(1), blob(), "p", "v", index, (5, 1, 1)) for index in (2, 3, 7)]
    volume = measure_cases(pairs).volumes.iloc[0]
    assert volume["hd95_reason"] == "slices are missing from the stack"
    assert np.isnan(volume["hd95"])
    assert pd.isna(volume["truth_lesions"])
    assert (volume["tp"], volume["dice"]) == (90, pytest.approx(30 / 36))
    result = evaluate_segmentation(*(lambda cases: (cases.images, cases.volumes))(measure_cases(pairs)), OPTIONS)
    assert result["volume_lesions"]["volumes"] == 0
    assert result["volume_lesions"]["metrics"]["sensitivity"]["value"] is None


def test_slices_written_in_different_ways_stack():
    truth = [blob(), blob().astype(np.uint8), blob() * np.uint8(255)]
    assert measure_cases(slices(truth)).volumes.iloc[0]["tp"] == 90


def test_null_ids_from_a_table_are_unknown_patients_and_no_volumes():
    for null in (float("nan"), pd.NA, None):
        cases = measure_cases([MaskPair(f"i{k}", blob(), blob(), null, null, null) for k in range(2)])
        assert cases.images["patient_id"].isna().all()
        assert len(cases.volumes) == 0


def test_a_stream_holds_one_volume_at_a_time():
    alive, most = set(), 0

    def stream():
        nonlocal most
        for volume in range(6):
            for index in range(3):
                mask = blob()
                alive.add(id(mask))
                weakref.finalize(mask, alive.discard, id(mask))
                most = max(most, len(alive))
                yield MaskPair(f"{volume}/{index}", mask, mask, volume_id=f"v{volume}", slice_index=index)
                del mask

    assert len(measure_cases(stream()).volumes) == 6
    assert most <= 5


# Summaries


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.5, 7.0]), st.integers(0, 3)), max_size=12))
def test_the_weighted_median_is_the_median_of_repeated_values(entries):
    entries = sorted(entries)
    values, counts = np.array([value for value, _ in entries]), np.array([count for _, count in entries], int)
    ours = weighted_median(values, np.stack([counts, 0 * counts]).astype(float))
    repeated = np.repeat(values, counts)
    assert ours[0] == pytest.approx(np.median(repeated) if len(repeated) else np.nan, abs=0, nan_ok=True)
    assert np.isnan(ours[1])


def statistic_of(images, volumes, min_predicted_pixels=2):
    images, volumes = images[images["kind"] != "unknown"], volumes[volumes["kind"] != "unknown"]
    clusters = as_clusters(images["cluster"], len(images))
    numbers = dict(zip(images["cluster"], clusters, strict=True))
    of_volumes = volumes["cluster"].map(numbers).to_numpy(dtype=np.intp)
    return SegmentationStatistic(images, clusters, volumes, of_volumes, min_predicted_pixels=min_predicted_pixels)


@settings(max_examples=12)
@given(SEEDS)
def test_resampling_equals_explicit_repetition_of_patients(seed):
    cases = measure_cases(random_pairs(seed, patients=6, gaps=True))
    images = cases.images.assign(cluster=[name.split("/")[0] for name in cases.images["image_id"]])
    volumes = cases.volumes.assign(cluster=[name[1:].split("/")[0] for name in cases.volumes["volume_id"]])
    statistic = statistic_of(images, volumes)
    names = images.loc[images["kind"] != "unknown", "cluster"].unique()
    weights = np.random.default_rng(seed).integers(0, 3, (4, statistic.clusters)).astype(float)
    weights[:, 0] += 1
    resampled = statistic(weights)
    for row, counts in enumerate(weights.astype(int)):
        copies = [(name, copy) for name, count in zip(names, counts, strict=True) for copy in range(count)]
        repeated = [
            pd.concat(
                [table[table["cluster"] == name].assign(cluster=f"{name} copy {copy}") for name, copy in copies],
                ignore_index=True,
            )
            for table in (images, volumes)
        ]
        again = statistic_of(*repeated)
        expected = again(np.ones((1, again.clusters)))
        assert set(expected) == set(resampled)
        for name, value in expected.items():
            assert resampled[name][row] == pytest.approx(value[0], abs=1e-12, rel=1e-12, nan_ok=True), name


@settings(max_examples=25)
@given(SEEDS)
def test_summaries_equal_pandas_and_scikit_learn(seed):
    pairs = random_pairs(seed)
    cases = measure_cases(pairs)
    known = cases.images[cases.images["kind"] != "unknown"]
    if len(known) == 0:
        return
    result = evaluate_segmentation(cases.images, cases.volumes, OPTIONS, min_predicted_pixels=3)
    json.dumps(result, allow_nan=False)

    def value(section, name):
        entry = result[section]["metrics"][name]
        assert (entry["value"] is None) == bool(entry["reason"] and entry["undefined_resamples"] is None), name
        return np.nan if entry["value"] is None else entry["value"]

    for section, table in (("per_image", cases.images), ("per_volume", cases.volumes)):
        positive = table[table["kind"] == "lesion_positive"]
        for name in CASE_METRICS:
            assert value(section, f"{name}_mean") == pytest.approx(positive[name].mean(), nan_ok=True), name
            assert value(section, f"{name}_median") == pytest.approx(positive[name].median(), nan_ok=True), name
    truth = np.concatenate([pair.truth.ravel() for pair in pairs if pair.truth is not None])
    predicted = np.concatenate([pair.predicted.ravel() for pair in pairs if pair.truth is not None])
    tn, fp, fn, tp = sk.confusion_matrix(truth, predicted, labels=[False, True]).ravel()
    assert result["pixel_confusion"] == {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    assert value("pooled", "dice") == pytest.approx(sk.f1_score(truth, predicted, zero_division=np.nan), nan_ok=True)
    expected = sk.recall_score(truth, predicted, zero_division=np.nan)
    assert value("pooled", "sensitivity") == pytest.approx(expected, nan_ok=True)
    has, says = known["kind"] == "lesion_positive", known["predicted_pixels"] >= 3
    for name, metric in (("sensitivity", sk.recall_score), ("precision", sk.precision_score), ("f1", sk.f1_score)):
        expected = metric(has, says, zero_division=np.nan)
        assert value("image_level", name) == pytest.approx(expected, nan_ok=True), name
    expected = sk.recall_score(has, says, pos_label=False, zero_division=np.nan)
    assert value("image_level", "specificity") == pytest.approx(expected, nan_ok=True)
    empty = known[known["kind"] == "empty_true"]
    expected = (empty["fp"] > 0).mean() if len(empty) else np.nan
    assert value("empty_true", "share_with_predicted_pixels") == pytest.approx(expected, nan_ok=True)
    expected = float(empty["fp"].mean()) if len(empty) else np.nan
    assert value("empty_true", "predicted_pixels_mean") == pytest.approx(expected, nan_ok=True)
    totals = known[["truth_lesions", "found_lesions", "false_lesions"]].sum()
    if totals["truth_lesions"]:
        assert value("lesions", "sensitivity") == pytest.approx(totals["found_lesions"] / totals["truth_lesions"])
    assert value("lesions", "false_positives_per_image") == pytest.approx(totals["false_lesions"] / len(known))


def small_study():
    """Four patients: two images each with a lesion, one without; the prediction is 1 or 2 pixels off."""
    pairs = []
    for patient in range(4):
        for image in range(2):
            pairs.append(MaskPair(f"{patient}/{image}", blob(1 + patient % 2), blob(), f"p{patient}"))
        pairs.append(MaskPair(f"{patient}/empty", blob() & (patient == 0), blob() & False, f"p{patient}"))
    return pairs


def test_the_kinds_are_counted_apart():
    pairs = [*small_study(), MaskPair("u", blob(), None, "p0"), MaskPair("w", blob(), None, "p9")]
    result = evaluate_segmentation(measure_cases(pairs).images, options=OPTIONS)
    assert result["images"] == {"total": 14, "lesion_positive": 8, "empty_true": 4, "unknown": 2}
    assert result["volumes"] == {"total": 0, "lesion_positive": 0, "empty_true": 0, "unknown": 0}
    assert result["per_image"]["metrics"]["dice_mean"]["value"] == pytest.approx((30 / 36 + 24 / 36) / 2)
    assert result["empty_true"]["with_predicted_pixels"] == 1
    assert result["empty_true"]["metrics"]["predicted_pixels_mean"]["value"] == 9
    assert result["pooled"]["metrics"]["dice"]["value"] == pytest.approx(2 * 216 / (2 * 216 + 72 + 36 + 72))
    assert (result["patients"], result["clusters"]) == (4, 4)
    without = evaluate_segmentation(measure_cases(small_study()).images, options=OPTIONS)
    assert {**result, "images": None} == {**without, "images": None}  # what is unknown enters no metric


def test_images_of_one_patient_are_one_unit():
    once = [pair for pair in small_study() if pair.image_id.endswith("/0")]
    thrice = [
        MaskPair(f"{pair.image_id} {k}", pair.predicted, pair.truth, pair.patient_id) for pair in once for k in "abc"
    ]
    results = [evaluate_segmentation(measure_cases(pairs).images, options=OPTIONS) for pairs in (once, thrice)]
    for name in ("dice_mean", "dice_median", "hd95_mean"):
        assert results[0]["per_image"]["metrics"][name] == results[1]["per_image"]["metrics"][name]
    loose = [MaskPair(pair.image_id, pair.predicted, pair.truth) for pair in thrice]
    loose = evaluate_segmentation(measure_cases(loose).images, options=OPTIONS)
    assert (loose["clusters"], loose["images_without_patient"], loose["patients"]) == (12, 12, 0)


def test_slices_of_a_volume_without_patient_are_one_unit():
    pairs = [MaskPair(f"{v}/{k}", blob(v), blob(), None, f"v{v}", k) for v in range(3) for k in range(4)]
    cases = measure_cases(pairs)
    result = evaluate_segmentation(cases.images, cases.volumes, OPTIONS)
    assert result["clusters"] == 3
    for name in ("value", "low", "high"):
        per_volume = result["per_volume"]["metrics"]["dice_mean"][name]
        assert result["per_image"]["metrics"]["dice_mean"][name] == pytest.approx(per_volume)


def test_per_patient_counts_each_patient_once():
    pairs = [MaskPair(f"a{k}", blob(), blob(), "a") for k in range(9)] + [MaskPair("b", blob(6), blob(), "b")]
    metrics = evaluate_segmentation(measure_cases(pairs).images, options=OPTIONS)
    assert metrics["per_patient"]["metrics"]["dice_mean"]["value"] == 0.5
    assert metrics["per_image"]["metrics"]["dice_mean"]["value"] == 0.9


def test_undefined_is_null_with_the_reason():
    missed = [MaskPair(f"i{k}", blob() & False, blob(), f"p{k}") for k in range(3)]
    result = evaluate_segmentation(measure_cases(missed).images, options=OPTIONS)
    per_image = result["per_image"]
    assert per_image["metrics"]["dice_mean"]["value"] == per_image["metrics"]["surface_dice_median"]["value"] == 0
    assert per_image["metrics"]["hd95_mean"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "the predicted mask is empty",
        "undefined_resamples": None,
    }
    assert per_image["hd95_undefined"] == {"the predicted mask is empty": 3}
    assert per_image["metrics"]["precision_mean"]["reason"] == "no lesion-positive image has a predicted pixel"
    assert result["pooled"]["metrics"]["precision"]["reason"] == "no pixel is predicted"
    assert result["image_level"]["metrics"]["specificity"]["reason"] == "no image is negative"
    assert result["lesions"]["metrics"]["precision"]["reason"] == "no lesion is predicted"
    assert (
        result["empty_true"]["metrics"]["predicted_pixels_mean"]["reason"] == "no image is known to be without lesion"
    )
    assert result["per_volume"]["metrics"]["dice_mean"]["reason"] == "no volume is lesion-positive"
    empty = [MaskPair(f"i{k}", blob() & False, blob() & False, f"p{k}") for k in range(3)]
    result = evaluate_segmentation(measure_cases(empty).images, options=OPTIONS)
    assert result["per_image"]["metrics"]["dice_mean"]["reason"] == "no image is lesion-positive"
    assert result["pooled"]["metrics"]["dice"]["reason"] == "there is no true or predicted pixel"
    assert result["image_level"]["metrics"]["sensitivity"]["reason"] == "no image is positive"
    assert result["empty_true"]["metrics"]["share_with_predicted_pixels"]["value"] == 0


def test_distances_in_mm_and_in_pixels_are_not_averaged():
    spacings = [(3, 0.5, 0.5), None, (3, 0.5, 0.5)]
    pairs = [MaskPair(f"i{k}", blob(1), blob(), f"p{k}", spacing_mm=spacing) for k, spacing in enumerate(spacings)]
    per_image = evaluate_segmentation(measure_cases(pairs).images, options=OPTIONS)["per_image"]
    assert per_image["distance_unit"] is None
    assert per_image["metrics"]["hd95_mean"]["reason"] == "the distance_unit is mm for some images and px for others"
    assert (
        per_image["metrics"]["volume_difference_mean"]["reason"]
        == "the volume_unit is ml for some images and px for others"
    )
    assert per_image["metrics"]["relative_volume_difference_percent_mean"]["value"] == 0
    assert per_image["metrics"]["dice_mean"]["value"] == pytest.approx(30 / 36)


def test_the_tolerance_of_the_surface_dice_stands_beside_it():
    tables = [
        measure_cases([MaskPair(name, blob(1), blob(), name)], tolerance=t).images for name, t in (("a", 1.5), ("b", 2))
    ]
    assert evaluate_segmentation(tables[0], options=OPTIONS)["per_image"]["surface_dice_tolerance"] == 1.5
    both = evaluate_segmentation(pd.concat(tables), options=OPTIONS)["per_image"]
    assert both["surface_dice_tolerance"] is None
    reason = both["metrics"]["surface_dice_mean"]["reason"]
    assert reason == "the surface_dice_tolerance is 1.5 for some images and 2.0 for others"
    assert both["metrics"]["hd95_mean"]["value"] == 1


def test_a_stored_table_gives_the_same_metrics(tmp_path):
    cases = measure_cases(random_pairs(4))
    read = []
    for name in ("images", "volumes"):
        getattr(cases, name).to_parquet(tmp_path / name)
        read.append(pd.read_parquet(tmp_path / name))
    assert evaluate_segmentation(*read, OPTIONS) == evaluate_segmentation(cases.images, cases.volumes, OPTIONS)


def test_rows_of_single_cases_make_a_table():
    pairs = small_study()
    ids = [{"image_id": pair.image_id, "patient_id": pair.patient_id, "volume_id": None} for pair in pairs]
    rows = [{**names, **measure_case(pair.truth, pair.predicted)} for names, pair in zip(ids, pairs, strict=True)]
    rows.append({"image_id": "u", "patient_id": None, "volume_id": None, **measure_case(None, blob())})
    made = evaluate_segmentation(pd.DataFrame(rows), options=OPTIONS)
    streamed = evaluate_segmentation(measure_cases([*pairs, MaskPair("u", blob(), None)]).images, options=OPTIONS)
    assert made == streamed


def test_bca_intervals_are_there_too():
    options = EvaluateOptions(bootstrap_resamples=200, interval_method="bca")
    pairs = [MaskPair(f"i{k}", blob(k % 5), blob(), f"p{k}") for k in range(12)]
    dice = evaluate_segmentation(measure_cases(pairs).images, options=options)["per_image"]["metrics"]["dice_mean"]
    assert dice["low"] < dice["value"] < dice["high"]


def test_stratified_resamples_keep_the_number_of_patients_with_lesion():
    pairs = [MaskPair(f"i{k}", blob(), blob() if k % 3 == 0 else blob() & False, f"p{k}") for k in range(12)]
    drawn = {}
    for stratified in (False, True):
        options = EvaluateOptions(bootstrap_resamples=200, stratified=stratified)
        result = evaluate_segmentation(measure_cases(pairs).images, options=options)
        drawn[stratified] = result["image_level"]["metrics"]["precision"]  # all are called: the share with lesion
    assert drawn[False]["value"] == drawn[True]["value"] == pytest.approx(1 / 3)
    assert drawn[False]["low"] < 1 / 3 < drawn[False]["high"]
    assert drawn[True]["low"] == pytest.approx(1 / 3) == drawn[True]["high"]


def pair(image="a", truth=None, **given):
    return MaskPair(image, blob(), blob() if truth is None else truth, **given)


IMAGES = measure_cases([pair("a"), pair("b")]).images
OF_VOLUME = measure_cases(slices([blob(), blob()]))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: measure_cases([pair(), pair()]), "masks: image a: found it again; expected each image once."),
        (
            lambda: measure_cases([pair(truth=np.ones((16, 15), bool))]),
            "masks: image a: found truth of shape (16, 15) and prediction of shape (16, 16); expected one shape"
            " for both.",
        ),
        (
            lambda: measure_cases([pair(truth=np.full((16, 16), 3, np.uint8))]),
            "masks: image a: truth: found the values 3; expected 0 and 1, or 0 and 255.",
        ),
        (
            lambda: measure_cases([pair(truth=np.ones((2, 16, 16), bool))]),
            "masks: image a: truth: found shape (2, 16, 16); expected (height, width).",
        ),
        (
            lambda: measure_cases([pair(spacing_mm=(0, 1))]),
            "masks: image a: spacing_mm: found (0, 1); expected 2 positive numbers of mm.",
        ),
        (lambda: measure_cases([], tolerance=-1), "tolerance: found -1; expected a finite number, at least 0."),
        (
            lambda: measure_cases([pair("a", volume_id="v", slice_index=2), pair("b", volume_id="v", slice_index=1)]),
            "masks: volume v: slice_index: found 2, 1; expected whole numbers that rise from slice to slice.",
        ),
        (
            lambda: measure_cases([pair("a", volume_id="v"), pair("b", volume_id="v", slice_index=1)]),
            "masks: volume v: slice_index: found None, 1; expected whole numbers that rise from slice to slice.",
        ),
        (
            lambda: measure_cases([pair("a", volume_id="v", slice_index=0.5)]),
            "masks: volume v: slice_index: found 0.5; expected whole numbers that rise from slice to slice.",
        ),
        (
            lambda: measure_cases(
                [pair(name, volume_id=volume, slice_index=0) for name, volume in (("a", "v"), ("b", "w"), ("c", "v"))]
            ),
            "masks: volume v: found it again; expected all its slices one after the other.",
        ),
        (
            lambda: measure_cases([pair(str(k), volume_id="v", slice_index=k, patient_id=f"p{k}") for k in range(2)]),
            "masks: volume v: patient_id: found p0 and p1; expected one for all slices.",
        ),
        (
            lambda: measure_cases(
                [pair(str(k), volume_id="v", slice_index=k, spacing_mm=(1, 1 + k)) for k in range(2)]
            ),
            "masks: volume v: spacing_mm: found (1.0, 1.0) and (1.0, 2.0); expected one for all slices.",
        ),
        (
            lambda: measure_cases([MaskPair(str(k), np.ones((4, 4 + k), bool), None, None, "v", k) for k in range(2)]),
            "masks: volume v: shape: found (4, 4) and (4, 5); expected one for all slices.",
        ),
        (
            lambda: evaluate_segmentation(IMAGES.drop(columns=["tp", "kind"])),
            "segmentation: images table: columns: found image_id, patient_id,",
        ),
        (
            lambda: evaluate_segmentation(pd.concat([IMAGES, IMAGES])),
            "segmentation: images table: a: image_id: found a (and 1 more); expected each once.",
        ),
        (
            lambda: evaluate_segmentation(IMAGES.assign(kind="lesion")),
            "segmentation: images table: a: kind: found lesion (and 1 more); expected one of lesion_positive,",
        ),
        (
            lambda: evaluate_segmentation(IMAGES.assign(fn=pd.array([4, None], dtype="Int64"))),
            "segmentation: images table: b: fn: found <NA>; expected a number of pixels where the truth is known.",
        ),
        (
            lambda: evaluate_segmentation(measure_cases([]).images),
            "segmentation: images table: found no images; expected at least one.",
        ),
        (
            lambda: evaluate_segmentation(measure_cases([MaskPair("a", blob(), None)]).images),
            "segmentation: images table: found 1 images of unknown truth; expected a known truth of at least one.",
        ),
        (
            lambda: evaluate_segmentation(IMAGES, OF_VOLUME.volumes),
            "segmentation: volumes table: v: found no image of patient p; expected its slices among the images.",
        ),
        (
            lambda: evaluate_segmentation(OF_VOLUME.images, pd.concat([OF_VOLUME.volumes] * 2)),
            "segmentation: volumes table: v: volume_id: found v; expected each once.",
        ),
        (
            lambda: evaluate_segmentation(IMAGES, min_predicted_pixels=0),
            "segmentation: min_predicted_pixels: found 0; expected at least 1.",
        ),
    ],
)
def test_bad_input_is_one_clear_line(call, line):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value).startswith(line)
    assert len(str(error.value).splitlines()) == 1
