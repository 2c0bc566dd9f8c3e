"""Volumes told by boxes: truth, score, thresholds fixed on val, FROC with rates a volume; against others' numbers."""

import json

import numpy as np
import pandas as pd
import pytest
from boxed_volumes import SIDES, cohort
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.evaluate.bootstrap import estimate
from scanline.evaluate.coco_matching import match_detections
from scanline.evaluate.detection_tables import check_detection_tables
from scanline.evaluate.detector import DetectorTables, evaluate_detector, fit_on_val, fit_volumes_on_val
from scanline.evaluate.detector_options import EvaluateDetectorOptions
from scanline.evaluate.froc import RATES
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.volume_froc import VolumeFroc
from scanline.evaluate.volume_options import VolumeOptions
from scanline.evaluate.volume_points import read_volume_points
from scanline.evaluate.volumes import gather_volumes, score_volumes, truth_of_volumes

FEW = EvaluateOptions(bootstrap_resamples=100)


# --- one volume -----------------------------------------------------------------------------------------------------


@st.composite
def sliced_volumes(draw):
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    volume = np.repeat(np.arange(len(sizes)), sizes)
    scores = draw(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.5, 0.9, 1.0]), min_size=len(volume), max_size=len(volume)))
    order = np.array(draw(st.permutations(range(len(volume)))))
    return np.array(scores), volume, len(sizes), order, draw(st.integers(1, 8))


@given(sliced_volumes())
def test_a_volume_has_the_mean_of_its_best_slices_in_any_order_of_rows(case):
    scores, volume, count, order, top_k = case
    found = score_volumes(scores, volume, count, top_k)
    for number in range(count):
        own = sorted(scores[volume == number], reverse=True)[:top_k]  # all of them, where there are fewer
        assert found[number] == pytest.approx(np.mean(own), abs=1e-12)
    np.testing.assert_allclose(score_volumes(scores[order], volume[order], count, top_k), found, atol=1e-12)
    np.testing.assert_array_equal(score_volumes(scores, volume, count, 1), pd.Series(scores).groupby(volume).max())
    assert (score_volumes(np.zeros(len(scores)), volume, count, top_k) == 0).all()  # no detection anywhere


@given(sliced_volumes(), st.data())
def test_a_volume_is_unknown_where_a_slice_is_unless_any_is_positive(case, data):
    _, volume, count, order, _ = case
    labels = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=len(volume), max_size=len(volume)))
    )[:, None]
    found = truth_of_volumes(labels, volume, count)
    for number in range(count):
        own = labels[volume == number, 0]
        expected = 1.0 if (own == 1).any() else np.nan if np.isnan(own).any() else 0.0
        np.testing.assert_equal(found[number, 0], expected)
    np.testing.assert_array_equal(truth_of_volumes(labels[order], volume[order], count), found)


def test_slices_of_no_volume_count_for_none_and_mistakes_are_one_line():
    assert score_volumes(np.array([0.9, 0.2]), np.array([-1, 0]), 1).tolist() == [0.2]
    with pytest.raises(InputError, match="at least 1 slice"):
        score_volumes(np.zeros(1), np.zeros(1, np.intp), 1, 0)
    with pytest.raises(InputError, match="volume 1 without a slice"):
        score_volumes(np.zeros(1), np.zeros(1, np.intp), 2)


# --- FROC a volume, by hand -----------------------------------------------------------------------------------------


def by_hand():
    """Two volumes with tears (a: two boxes on two slices, b: one), two without (c, d); scores in brackets.

    a1: box, found [0.9]; a2: box, found [0.5], and a false one [0.3]; a3: false [0.8]. b1: box, missed, false [0.7].
    c1: false [0.6]. d1: nothing.
    """
    images = pd.DataFrame({"image_id": ["a1", "a2", "a3", "b1", "c1", "d1"], "volume_id": [*"aaabcd"]})
    images["patient_id"] = images["volume_id"].map({"a": "p", "b": "q", "c": "q", "d": None}).astype("str")
    images.loc[images["volume_id"] == "d", "patient_id"] = None
    truth = pd.DataFrame([{"image_id": name, "label": "tear", **SIDES} for name in ("a1", "a2", "b1")])
    hits = [("a1", 0.9), ("a2", 0.5)]
    misses = [("a2", 0.3), ("a3", 0.8), ("b1", 0.7), ("c1", 0.6)]
    found = [{"image_id": name, "label": "tear", **SIDES, "score": score} for name, score in hits]
    found += [{"image_id": name, "label": "tear", **SIDES, "x": 100.0, "score": score} for name, score in misses]
    labels = pd.DataFrame({"image_id": images["image_id"], "tear": [True, True, False, True, False, False]})
    labels["tear"] = labels["tear"].astype("boolean")
    return images, truth, pd.DataFrame(found), labels


def froc_of(images, truth, found, labels, iou=0.1):
    tables = check_detection_tables(truth, found, images, ["tear"], labels)
    volumes = gather_volumes(tables, images, labels, "volume_id")
    return VolumeFroc(tables, match_detections(tables, (iou,)), volumes), tables


def test_froc_a_volume_by_hand():
    froc, tables = froc_of(*by_hand())
    values = {name: float(value[0]) for name, value in froc(np.ones((1, tables.cluster_count))).items()}
    # By falling score: hit (a) 0.9 | false 0.8, 0.7, 0.6: 1/4, 2/4, 3/4 a volume | hit (a) 0.5 | false 0.3: 4/4.
    boxes = {"1/8": 1 / 3, "1/4": 1 / 3, "1/2": 1 / 3, "1": 2 / 3, "2": 2 / 3, "4": 2 / 3, "8": 2 / 3}
    for rate in RATES:
        assert values[f"tear.box_sensitivity_at_{rate}"] == pytest.approx(boxes[rate]), rate
        assert values[f"tear.volume_sensitivity_at_{rate}"] == pytest.approx(1 / 2), rate
    assert values["tear.box_mean_sensitivity"] == pytest.approx((3 / 3 + 4 * 2 / 3) / 7)
    table = froc.table()
    own = table[table["found"] == "box"]
    assert own["false_positives_per_volume"].tolist() == [0, 0, 0.75, 0.75, 1]
    np.testing.assert_allclose(own["sensitivity"], [0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert table[table["found"] == "volume"]["sensitivity"].tolist() == [0, 0.5, 0.5]


def test_froc_counts_a_patient_as_often_as_it_is_drawn():
    froc, tables = froc_of(*by_hand())
    assert tables.cluster_count == 3  # p; q with two volumes; d, which names no patient
    doubled = froc(np.array([[2.0, 1.0, 0.0]]))
    # Twice a, once b and c: 4 of 5 boxes in a; false ones in all 2 * 2 + 2, on 4 volumes.
    assert doubled["tear.box_sensitivity_at_1/8"][0] == pytest.approx(2 / 5)
    assert doubled["tear.box_sensitivity_at_1/2"][0] == pytest.approx(
        2 / 5
    )  # a3's false one counts twice: 2/4, then 3/4
    assert doubled["tear.box_sensitivity_at_1"][0] == pytest.approx(4 / 5)
    assert doubled["tear.volume_sensitivity_at_1/8"][0] == pytest.approx(2 / 3)


def test_froc_leaves_out_volumes_with_an_unknown_slice_and_says_why_it_is_undefined():
    images, truth, found, labels = by_hand()
    labels.loc[labels["image_id"] == "a3", "tear"] = pd.NA
    froc, tables = froc_of(images, truth, found[found["image_id"] != "a3"], labels)
    assert froc.volumes_counted.tolist() == [3]
    values = froc(np.ones((1, tables.cluster_count)))
    assert values["tear.box_sensitivity_at_8"][0] == 0  # b's box is never found
    assert froc.table()["false_positives_per_volume"].max() == pytest.approx(2 / 3)  # b1 and c1, in b, c and d
    without = froc_of(images, truth.iloc[:0], found, labels.assign(tear=pd.array([False] * 6, dtype="boolean")))
    result = estimate(without[0], without[1].cluster_count, FEW)
    one = result["tear.volume_mean_sensitivity"]
    assert (one.value, one.reason) == (None, "no true box in these volumes")
    assert without[0].table().empty


@given(st.integers(0, 10_000))
def test_froc_does_not_depend_on_the_order_of_rows(seed):
    images, truth, found, labels = by_hand()
    froc, tables = froc_of(images, truth, found, labels)
    rng = np.random.default_rng(seed)
    mixed = [table.sample(frac=1, random_state=rng.integers(2**31)) for table in (images, truth, found, labels)]
    other, _ = froc_of(*mixed)
    ones = np.ones((1, tables.cluster_count))
    assert {name: float(value[0]) for name, value in froc(ones).items()} == {
        name: float(value[0]) for name, value in other(ones).items()
    }


# --- the whole evaluation -------------------------------------------------------------------------------------------


def options_of(**volumes):
    return EvaluateDetectorOptions(
        targets=("tear",), volumes=VolumeOptions(**volumes), evaluate=FEW, patient_salt="salt"
    )


def evaluated(tables, options):
    return evaluate_detector(tables, options, fit_on_val(tables, options), fit_volumes_on_val(tables, options))


def plain_volumes(tables, subset, top_k):
    """Truth and score of each volume, counted with pandas alone."""
    ids = tables.predicted.loc[tables.predicted["subset"] == subset, "image_id"]
    slices = tables.images[tables.images["image_id"].isin(ids)].set_index("image_id")
    best = tables.detections.groupby("image_id")["score"].max().reindex(slices.index).fillna(0.0)
    score = best.groupby(slices["volume_id"]).apply(lambda own: own.nlargest(top_k).mean())
    truth = tables.labels.set_index("image_id")["tear"].reindex(slices.index).groupby(slices["volume_id"]).any()
    return truth.reindex(score.index).to_numpy(bool), score.to_numpy()


@pytest.mark.parametrize("volumes", [{}, {"score": "top_k_mean", "top_k": 2, "specificity": 0.75}])
def test_volume_metrics_equal_those_of_scikit_learn_at_the_threshold_of_val(volumes):
    tables, options = cohort(), options_of(**volumes)
    top_k = volumes.get("top_k", 1)
    metrics = evaluated(tables, options).metrics["subsets"]["test"]["volume_level"]
    truth, score = plain_volumes(tables, "test", top_k)
    measured = metrics["any_class"]["metrics"]
    assert measured["auroc"]["value"] == pytest.approx(roc_auc_score(truth, score), abs=1e-9)
    assert measured["auprc"]["value"] == pytest.approx(average_precision_score(truth, score), abs=1e-9)
    val_truth, val_score = plain_volumes(tables, "val", top_k)
    false, true, thresholds = roc_curve(val_truth, val_score, drop_intermediate=False)
    reached = (1 - false >= options.volumes.specificity - 1e-12) & np.isfinite(thresholds)
    best = true[reached].max()
    threshold = metrics["any_class"]["threshold"]
    assert (val_score[val_truth] >= threshold).mean() == pytest.approx(best)
    assert (val_score[~val_truth] < threshold).mean() >= options.volumes.specificity
    assert measured["recall"]["value"] == pytest.approx((score[truth] >= threshold).mean(), abs=1e-12)
    assert measured["specificity"]["value"] == pytest.approx((score[~truth] < threshold).mean(), abs=1e-12)
    assert measured["auroc"]["low"] < measured["auroc"]["value"] < measured["auroc"]["high"]
    assert (metrics["clustered_by"], metrics["volumes"]) == ("patient_id", len(truth))
    assert metrics["any_class"] == metrics["per_class"]["tear"]


def test_thresholds_are_of_val_alone_and_refused_on_others(tmp_path):
    tables, options = cohort(), options_of()
    points = fit_volumes_on_val(tables, options)
    is_test = tables.detections["subset"] == "test"
    without_test = tables.detections[~is_test].reset_index(drop=True)
    changed = DetectorTables(**{**vars(tables), "detections": without_test})
    assert fit_volumes_on_val(changed, options) == points
    write_json(tmp_path / "point.json", points.as_json())
    read = read_volume_points(tmp_path / "point.json")
    assert read.as_json() == points.as_json()
    assert read.sha256() == points.sha256()
    of_val = tables.detections.assign(score=tables.detections["score"].where(is_test, tables.detections["score"] / 2))
    other = DetectorTables(**{**vars(tables), "detections": of_val})
    with pytest.raises(InputError, match="volume operating point, tear: scores_sha256"):
        evaluate_detector(other, options, fit_on_val(other, options), points)
    with pytest.raises(InputError, match="Fit it with these options"):
        evaluate_detector(tables, options_of(top_k=7), fit_on_val(tables, options), points)
    (tmp_path / "point.json").write_text(json.dumps({"points": {}}))
    with pytest.raises(InputError, match="operating points of volumes"):
        read_volume_points(tmp_path / "point.json")


def test_a_filtered_slice_counts_for_the_truth_and_an_unknown_one_leaves_the_volume_unknown():
    tables, options = cohort(), options_of()
    test_ids = tables.predicted.loc[tables.predicted["subset"] == "test", "image_id"]
    torn = tables.labels.loc[tables.labels["tear"] & tables.labels["image_id"].isin(test_ids), "image_id"]
    volume = torn.iloc[0].split("/")[0]
    slices = tables.predicted["image_id"].str.startswith(volume + "/")
    kept = tables.predicted[~(slices & tables.predicted["image_id"].isin(torn))]
    gone = ~tables.detections["image_id"].isin(kept["image_id"])
    fewer = DetectorTables(**{**vars(tables), "predicted": kept, "detections": tables.detections[~gone]})
    level = evaluated(fewer, options).volume_level
    assert (
        level[level["subset"] == "test"]["truth"].sum()
        == evaluated(tables, options).volume_level.query("subset == 'test'")["truth"].sum()
    )
    clean = next(
        name for name in test_ids if not tables.labels.set_index("image_id")["tear"][name.split("/")[0] + "/0"]
    )
    labels = tables.labels.copy()
    labels.loc[labels["image_id"] == clean, "tear"] = pd.NA
    left = tables.predicted[tables.predicted["image_id"] != clean]
    held = tables.detections[tables.detections["image_id"] != clean]
    unknown = DetectorTables(**{**vars(tables), "labels": labels, "predicted": left, "detections": held})
    result = evaluated(unknown, options)
    metrics = result.metrics["subsets"]["test"]["volume_level"]["any_class"]
    assert metrics["unknown"] == 1
    assert result.volume_level["truth"].isna().sum() == 1
    assert metrics["volumes_in_froc"] == metrics["positives"] + metrics["negatives"]


def test_without_negatives_on_val_there_is_no_threshold_and_the_metrics_are_null_with_the_reason():
    tables = cohort()
    val = tables.predicted.loc[tables.predicted["subset"] == "val", "image_id"]
    torn = {name.split("/")[0] for name in tables.labels.loc[tables.labels["tear"], "image_id"]}
    keep = ~tables.predicted["image_id"].isin(val) | tables.predicted["image_id"].str.split("/").str[0].isin(torn)
    predicted = tables.predicted[keep]
    found = tables.detections[tables.detections["image_id"].isin(predicted["image_id"])]
    result = evaluated(DetectorTables(**{**vars(tables), "predicted": predicted, "detections": found}), options_of())
    measured = result.metrics["subsets"]["test"]["volume_level"]["any_class"]
    assert measured["threshold"] is None
    assert measured["metrics"]["recall"]["value"] is None
    assert "0 negative volumes" in measured["metrics"]["recall"]["reason"]
    assert measured["metrics"]["auroc"]["value"] is not None
    assert result.metrics["subsets"]["val"]["volume_level"]["any_class"]["metrics"]["auroc"]["value"] is None
    assert result.volume_level["predicted"].isna().all()
    of_val = result.metrics["subsets"]["val"]["volume_level"]["any_class"]["metrics"]
    assert of_val["auprc"]["value"] is None  # it would be 1 whatever the scores
    assert of_val["auprc"]["reason"] == of_val["auroc"]["reason"] == "no volume is negative"


def test_a_specificity_out_of_reach_is_told():
    tables = cohort()
    found = tables.detections.copy()
    clean = found["subset"].eq("val") & ~found["image_id"].isin(tables.boxes["image_id"])
    found.loc[clean, "score"] = 1.0
    result = evaluated(DetectorTables(**{**vars(tables), "detections": found}), options_of(specificity=1.0))
    recall = result.metrics["subsets"]["test"]["volume_level"]["any_class"]["metrics"]["recall"]
    assert recall["value"] is None
    assert "has a specificity of 1 there" in recall["reason"]


def test_studies_without_volumes_and_splits_that_part_them_are_told():
    tables = cohort()
    nameless = DetectorTables(**{**vars(tables), "images": tables.images.assign(volume_id=None)})
    result = evaluated(nameless, options_of())
    assert result.metrics["subsets"]["test"]["volume_level"] is None
    assert result.volume_level.empty
    assert result.metrics["volumes"]["reason"] == "no image names its volume"
    by_patient = evaluated(nameless, options_of(of="patient_id")).metrics["subsets"]["test"]["volume_level"]
    assert by_patient["volumes"] == by_patient["patients"] == 20
    subset = np.where(np.arange(len(tables.predicted)) % 2, "val", "test")
    parted = dict(zip(tables.predicted["image_id"], subset, strict=True))
    naive = DetectorTables(
        **{
            **vars(tables),
            "predicted": tables.predicted.assign(subset=subset),
            "detections": tables.detections.assign(subset=tables.detections["image_id"].map(parted)),
        }
    )
    result = evaluated(naive, options_of())
    assert result.metrics["volumes"]["reason"] == "this split parts volumes"
    assert result.metrics["subsets"]["test"]["volume_level"] is None


def test_volumes_without_patients_are_clusters_of_their_own_and_that_is_said():
    tables = cohort()
    nameless = DetectorTables(**{**vars(tables), "images": tables.images.assign(patient_id=None)})
    metrics = evaluated(nameless, options_of()).metrics["subsets"]["test"]["volume_level"]
    assert (metrics["clustered_by"], metrics["patients"]) == ("volume_id", 0)
    assert metrics["any_class"]["metrics"]["auroc"]["low"] is not None


def test_tables_and_curves_hold_the_volumes_by_pseudonym():
    tables, options = cohort(), options_of()
    result = evaluated(tables, options)
    level = result.volume_level
    assert list(level.columns) == ["volume", "patient", "truth", "predicted", "score", "slices", "subset"]
    text = level.to_csv()
    assert not any(name in text for name in (*tables.images["volume_id"], *tables.images["patient_id"]))
    assert level["volume"].is_unique
    assert set(level["subset"]) == {"val", "test"}
    curves = result.curves[result.curves["subset"] == "test"]
    roc = curves[curves["curve"] == "volume_roc"]
    area = np.trapezoid(roc["y"], roc["x"])
    auroc = result.metrics["subsets"]["test"]["volume_level"]["any_class"]["metrics"]["auroc"]["value"]
    assert area == pytest.approx(auroc, abs=1e-9)
    assert {"volume_froc_box", "volume_froc_volume"} <= set(curves["curve"])


def test_the_headline_is_what_subgroups_are_told_by():
    tables = cohort()
    images = tables.images.assign(sex=np.where(tables.images["patient_id"].str[1:].astype(int) % 4 < 2, "F", "M"))
    tables = DetectorTables(**{**vars(tables), "images": images})
    options = EvaluateDetectorOptions(targets=("tear",), boxes={"headline": "ap_10"}, evaluate=FEW, patient_salt="salt")
    metrics = evaluated(tables, options).metrics
    assert metrics["headline"] == "ap_10"
    group = metrics["subgroups"]["test"][0]["groups"][0]["metrics"]
    assert "ap_10" in group
    assert "ap_50" not in group


def test_classes_are_told_apart_and_together():
    tables = cohort()
    second = tables.boxes["image_id"].str[1].astype(int) % 2 == 1
    boxes = tables.boxes.assign(label=np.where(second, "cyst", "tear"))
    labels = tables.labels[["image_id"]].assign(
        **{
            name: tables.labels["image_id"].isin(boxes.loc[boxes["label"] == name, "image_id"]).astype("boolean")
            for name in ("tear", "cyst")
        }
    )
    two = DetectorTables(**{**vars(tables), "boxes": boxes, "labels": labels})
    options = EvaluateDetectorOptions(targets=("tear", "cyst"), evaluate=FEW, patient_salt="salt")
    found = evaluated(two, options).metrics["subsets"]["test"]["volume_level"]
    alone = evaluated(tables, options_of()).metrics["subsets"]["test"]["volume_level"]
    assert set(found["per_class"]) == {"tear", "cyst"}
    assert found["any_class"]["positives"] == alone["any_class"]["positives"]
    assert found["any_class"]["metrics"]["auroc"]["value"] == alone["any_class"]["metrics"]["auroc"]["value"]
    counts = [found["per_class"][name]["positives"] for name in ("tear", "cyst")]
    assert all(counts)
    assert sum(counts) >= found["any_class"]["positives"]
