import json

import numpy as np
import pandas as pd
import pytest
from multilabel_files import call_script, make_files, make_scores
from sklearn.metrics import confusion_matrix, roc_auc_score

import evaluate_multilabel
from scanline.core.errors import InputError
from scanline.core.tables import BOXES, IMAGES, read_table
from scanline.evaluate.multilabel_classifier import (
    evaluate_multilabel_classifier,
    fit_labels_on_val,
    points_as_json,
    read_label_maps,
    read_operating_points,
)
from scanline.evaluate.multilabel_options import EvaluateMultilabelOptions
from scanline.evaluate.operating_point import fit_operating_point
from scanline.evaluate.options import EvaluateOptions
from scanline.predict.activation_maps import write_maps

LABELS = ("bleed", "oedema")
SCORING = EvaluateOptions(bootstrap_resamples=100)
OPTIONS = EvaluateMultilabelOptions(targets=LABELS, evaluate=SCORING, patient_salt="salt")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("data"), LABELS, patients=40, external=8)


@pytest.fixture(scope="module")
def predicted(files):
    return make_scores(files, LABELS, strength=2.0)


def evaluate(files, scores, maps=None, points=None, options=OPTIONS):
    found = {}
    if maps is not None:
        found = {
            label: dict(zip(scores["image_id"], maps[:, place], strict=True)) for place, label in enumerate(LABELS)
        }
    points = fit_labels_on_val(scores, options) if points is None else points
    images, boxes = read_table(files["images"], IMAGES), read_table(files["boxes"], BOXES)
    return evaluate_multilabel_classifier(scores, images, boxes, found, options, points)


def known(scores, subset, label):
    rows = scores[(scores["subset"] == subset) & scores[f"truth_{label}"].notna()]
    return rows[f"truth_{label}"].astype(bool).to_numpy(), rows[f"probability_{label}"].to_numpy()


def test_each_threshold_is_the_one_of_its_known_val_images(predicted):
    scores, _ = predicted
    points = fit_labels_on_val(scores, OPTIONS)
    for label in LABELS:
        truth, probability = known(scores, "val", label)
        rows = scores[(scores["subset"] == "val") & scores[f"truth_{label}"].notna()]
        expected = fit_operating_point(SCORING, sorted(rows["image_id"]), truth, probability)
        assert points[label] == expected
        assert points[label].images == len(truth) < (scores["subset"] == "val").sum()
    assert points["bleed"].threshold != points["oedema"].threshold


@pytest.mark.parametrize("subset", ["test", "external"])
def test_thresholds_never_see_test_or_external(predicted, subset):
    scores, _ = predicted
    points = fit_labels_on_val(scores, OPTIONS)
    changed, rows = scores.copy(), scores["subset"] == subset
    for label in LABELS:
        changed.loc[rows, f"probability_{label}"] = 1 - changed.loc[rows, f"probability_{label}"]
        changed.loc[rows, f"truth_{label}"] = ~changed.loc[rows, f"truth_{label}"]
    assert fit_labels_on_val(changed, OPTIONS) == points
    val = scores["subset"] == "val"
    changed.loc[val, "probability_bleed"] = changed.loc[val, "probability_bleed"] / 2
    moved = fit_labels_on_val(changed, OPTIONS)
    assert moved["bleed"] != points["bleed"]
    assert moved["oedema"] == points["oedema"]


def test_points_fitted_on_other_scores_are_refused(files, predicted):
    scores, _ = predicted
    points = fit_labels_on_val(scores, OPTIONS)
    swapped = scores.assign(subset=scores["subset"].replace({"val": "test", "test": "val"}))
    with pytest.raises(InputError, match="operating point: label bleed: scores_sha256"):
        evaluate(files, scores, points=fit_labels_on_val(swapped, OPTIONS))
    with pytest.raises(InputError, match="found the labels bleed; expected bleed, oedema"):
        evaluate(files, scores, points={"bleed": points["bleed"]})
    with pytest.raises(InputError, match="label oedema"):
        evaluate(files, scores, points={"bleed": points["bleed"], "oedema": points["bleed"]})


def test_the_order_of_the_frozen_points_changes_nothing(files, predicted):
    scores, maps = predicted
    points = fit_labels_on_val(scores, OPTIONS)
    turned = evaluate(files, scores, maps, dict(reversed(points.items())))
    straight = evaluate(files, scores, maps, points)
    assert json.dumps(turned.metrics) == json.dumps(straight.metrics)
    assert turned.per_image.equals(straight.per_image)


def test_an_unknown_entrys_probability_changes_no_number_of_its_label(files, predicted):
    scores, _ = predicted
    before = evaluate(files, scores).metrics
    changed = scores.copy()
    changed.loc[changed["truth_bleed"].isna(), "probability_bleed"] = 0.5
    after = evaluate(files, changed).metrics
    assert json.dumps(after, sort_keys=True) == json.dumps(before, sort_keys=True)


def test_numbers_equal_sklearns_on_the_known_entries(files, predicted):
    scores, _ = predicted
    result = evaluate(files, scores)
    for subset in ("val", "test", "external"):
        part = result.metrics["subsets"][subset]
        areas = []
        for label in LABELS:
            truth, probability = known(scores, subset, label)
            areas.append(roc_auc_score(truth, probability))
            assert part["per_class"][label]["auroc"]["value"] == pytest.approx(areas[-1], abs=1e-12)
            tn, fp, fn, tp = confusion_matrix(truth, probability >= result.metrics["thresholds"][label]).ravel()
            assert part["confusion"][label] == {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
            assert sum(row["images"] for row in part["calibration"][label]["reliability"]) == len(truth)
        assert part["averages"]["macro"]["auroc"]["value"] == pytest.approx(np.mean(areas), abs=1e-12)
        assert part["averages"]["macro"]["auroc"]["low"] < np.mean(areas) < part["averages"]["macro"]["auroc"]["high"]
        assert part["clustered_by"] == "patient_id"


def test_exact_match_and_errors_together_equal_a_count_over_the_table_of_images(files):
    scores, _ = make_scores(files, LABELS, strength=0.5)
    result = evaluate(files, scores)
    test = result.per_image[result.per_image["subset"] == "test"]
    wrong = {label: test[f"outcome_{label}"].isin(["FP", "FN"]) for label in LABELS}
    both_known = test["truth_bleed"].notna() & test["truth_oedema"].notna()
    part = result.metrics["subsets"]["test"]
    assert part["errors_together"] == [
        [int(wrong["bleed"].sum()), int((wrong["bleed"] & wrong["oedema"]).sum())],
        [int((wrong["bleed"] & wrong["oedema"]).sum()), int(wrong["oedema"].sum())],
    ]
    assert part["errors_together"][0][1] > 0
    assert part["known_together"][0][1] == int(both_known.sum()) == part["images_with_all_labels_known"]
    right = both_known & ~wrong["bleed"] & ~wrong["oedema"]
    assert part["metrics"]["exact_match"]["value"] == pytest.approx(right.sum() / both_known.sum())


def test_the_table_of_images_has_pseudonyms_and_nulls_where_unknown(files, predicted):
    scores, maps = predicted
    table = evaluate(files, scores, maps).per_image
    assert len(table) == len(scores)
    assert not table["patient"].str.contains("patient").any()
    for label in LABELS:
        unknown = table[f"truth_{label}"].isna()
        assert unknown.any()
        assert table.loc[unknown, f"outcome_{label}"].isna().all()
        assert table.loc[~unknown, f"outcome_{label}"].isin(["TP", "FP", "FN", "TN"]).all()
        assert table[f"predicted_{label}"].dtype == bool
    # Only the first label has boxes, and the made maps light up inside them.
    positive = table["truth_bleed"].fillna(False)
    assert (table.loc[positive, "pointing_hit_bleed"] == 1).all()
    assert "pointing_hit_oedema" not in table


def test_maps_are_scored_against_the_boxes_of_their_own_label(files, predicted):
    scores, maps = predicted
    found = evaluate(files, scores, maps).metrics["localization"]["test"]
    assert found["bleed"]["metrics"]["pointing_game"]["value"] == 1
    assert found["oedema"] is None
    swapped = evaluate(files, scores, maps[:, ::-1]).metrics["localization"]["test"]
    assert swapped["bleed"]["metrics"]["mass_inside"]["value"] < 0.5 < found["bleed"]["metrics"]["mass_inside"]["value"]


def test_external_is_compared_with_test_and_without_it_there_is_no_gap(files, predicted):
    scores, _ = predicted
    result = evaluate(files, scores).metrics
    difference = [result["subsets"][name]["averages"]["macro"]["auroc"]["value"] for name in ("test", "external")]
    assert result["gap"]["macro.auroc"]["value"] == pytest.approx(difference[0] - difference[1])
    areas = [result["subsets"][name]["per_class"]["oedema"]["auroc"]["value"] for name in ("test", "external")]
    assert result["gap"]["oedema.auroc"]["value"] == pytest.approx(areas[0] - areas[1])
    assert evaluate(files, scores[scores["subset"] != "external"]).metrics["gap"] is None


def test_each_label_is_measured_in_each_subgroup(files, predicted, tmp_path):
    scores, _ = predicted
    images = pd.read_parquet(files["images"])
    number = images["patient_id"].astype("str").map(lambda name: sum(map(ord, name)))
    images["sex"] = np.where(number % 2, "female", "male")
    images.to_parquet(tmp_path / "images.parquet")
    metrics = evaluate({**files, "images": tmp_path / "images.parquet"}, scores).metrics
    columns = {column["by"]: column["groups"] for column in metrics["subgroups"]["test"]}
    assert set(columns) == {"sex", "lesion_size"}
    for group in columns["sex"]:
        ids = images.loc[images["sex"] == group["name"], "image_id"]
        own = scores[scores["image_id"].isin(ids)]
        assert group["images"] == (own["subset"] == "test").sum()
        for label in LABELS:
            truth, probability = known(own, "test", label)
            assert group["metrics"][f"{label}.auroc"]["value"] == pytest.approx(roc_auc_score(truth, probability))
            assert group["difference_to_rest"][f"{label}.auroc"]["value"] is not None
    # Only the first label has boxes: where it is unknown, so is the size, and the second label's truth does not matter.
    sizes = {group["name"]: group["images"] for group in columns["lesion_size"]}
    test = scores[scores["subset"] == "test"]
    assert sizes["no lesion"] == (~test["truth_bleed"].astype("boolean")).sum()
    assert sizes["unknown"] == test["truth_bleed"].isna().sum()


def test_a_label_unknown_on_all_of_test_is_null_with_its_reason(files, predicted):
    scores, _ = predicted
    changed = scores.copy()
    lost = changed["subset"] == "test"
    changed.loc[lost, "truth_oedema"] = pd.NA
    changed = changed[changed["truth_bleed"].notna() | ~lost]
    part = evaluate(files, changed).metrics["subsets"]["test"]
    assert part["per_class"]["oedema"]["auroc"]["value"] is None
    assert "known of no image" in part["per_class"]["oedema"]["auroc"]["reason"]
    assert part["calibration"]["oedema"] is None
    assert part["confusion"]["oedema"] == {"tp": 0, "fp": 0, "fn": 0, "tn": 0}
    assert part["averages"]["macro"]["auroc"]["left_out"] == ["oedema"]


def test_temperatures_are_fitted_for_each_label(files, predicted):
    scores, _ = predicted
    options = OPTIONS.model_copy(
        update={"evaluate": EvaluateOptions(temperature_scaling=True, bootstrap_resamples=100)}
    )
    result = evaluate(files, scores, options=options)
    temperatures = result.metrics["temperatures"]
    assert temperatures["bleed"] != temperatures["oedema"]
    table = result.per_image.set_index("image_id").loc[scores["image_id"]]
    raw = np.log(scores["probability_bleed"] / (1 - scores["probability_bleed"])).to_numpy()
    calibrated = np.log(table["probability_bleed"] / (1 - table["probability_bleed"])).to_numpy()
    assert calibrated == pytest.approx(raw / temperatures["bleed"], rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="truth_oedema"), "truth_oedema as well"),
        (lambda table: table.assign(probability_bleed=1.5), "probability_bleed: found 1.5"),
        (lambda table: table.assign(subset="train"), "subset: found train"),
        (lambda table: table.assign(truth_bleed=0.5), "values of type float64; expected booleans"),
        (lambda table: table.assign(image_id="same"), "image_id: found same"),
        (lambda table: table[table["subset"] == "val"], "subset test: found no images"),
        (lambda table: table.assign(truth_bleed=pd.NA, truth_oedema=pd.NA), "at least one known label"),
    ],
)
def test_scores_that_do_not_fit_are_one_line(predicted, change, message):
    with pytest.raises(InputError) as error:
        fit_labels_on_val(change(predicted[0]), OPTIONS)
    assert message in str(error.value)


def test_val_without_positives_names_the_label(predicted):
    scores = predicted[0].copy()
    scores.loc[(scores["subset"] == "val") & scores["truth_oedema"].notna(), "truth_oedema"] = False
    with pytest.raises(InputError, match="label oedema: subset val: found 0 positive"):
        fit_labels_on_val(scores, OPTIONS)


def test_operating_points_and_maps_come_back_from_their_files(predicted, tmp_path):
    scores, maps = predicted
    points = fit_labels_on_val(scores, OPTIONS)
    path = tmp_path / "operating_point.json"
    path.write_text(json.dumps(points_as_json(points)))
    assert read_operating_points(path) == points
    path.write_text(json.dumps(points["bleed"].as_json()))
    with pytest.raises(InputError, match="expected labels, and to each one a record"):
        read_operating_points(path)
    write_maps(scores["image_id"].tolist(), maps, LABELS, tmp_path / "cams.npz")
    back = read_label_maps(tmp_path / "cams.npz", LABELS)
    assert np.array_equal(back["oedema"][scores["image_id"].iloc[3]], maps[3, 1])
    with pytest.raises(InputError, match="found bleed, oedema; expected oedema, bleed"):
        read_label_maps(tmp_path / "cams.npz", LABELS[::-1])
    write_maps(scores["image_id"].tolist(), maps[:, 0], "bleed", tmp_path / "one.npz")
    with pytest.raises(InputError, match="expected an archive with the arrays image_id, label and cam"):
        read_label_maps(tmp_path / "one.npz", LABELS)


def test_the_script_writes_the_same_bytes_twice_and_freezes_the_points(files, predicted, tmp_path, monkeypatch):
    scores, maps = predicted
    scores.sample(frac=1, random_state=0).to_parquet(tmp_path / "scores.parquet")
    write_maps(scores["image_id"].tolist(), maps, LABELS, tmp_path / "cams.npz")
    contents = []
    for turn in ("first", "second"):
        folder = tmp_path / turn
        outputs = {name: folder / f"{name}.json" for name in ("metrics", "operating_point")}
        outputs |= {name: folder / f"{name}.parquet" for name in ("per_image", "curves")}
        outputs["per_image_csv"] = folder / "per_image.csv"
        call_script(
            monkeypatch,
            evaluate_multilabel,
            OPTIONS.model_dump(mode="json"),
            scores=tmp_path / "scores.parquet",
            cams=tmp_path / "cams.npz",
            images=files["images"],
            boxes=files["boxes"],
            split=files["split"],
            **outputs,
        )
        contents.append({name: path.read_bytes() for name, path in outputs.items()})
    assert contents[0] == contents[1]
    metrics = json.loads(contents[0]["metrics"])
    points = read_operating_points(tmp_path / "first/operating_point.json")
    assert metrics["operating_point_sha256"] == {label: point.sha256() for label, point in points.items()}
    assert metrics["thresholds"] == {label: point.threshold for label, point in points.items()}
    assert metrics["labels"] == list(LABELS)
    curves = pd.read_parquet(tmp_path / "first/curves.parquet")
    assert list(curves) == ["label", "subset", "curve", "x", "y", "threshold"]
    assert set(curves["label"]) == set(LABELS)
    roc = curves[(curves["label"] == "oedema") & (curves["subset"] == "test") & (curves["curve"] == "roc")]
    area = metrics["subsets"]["test"]["per_class"]["oedema"]["auroc"]["value"]
    assert np.trapezoid(roc["y"], roc["x"]) == pytest.approx(area, abs=1e-12)
