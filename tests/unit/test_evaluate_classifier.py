"""The evaluation of a classifier as a whole: its files, its refusals, its command lines."""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from scanline.core.errors import InputError
from scanline.core.privacy import pseudonym
from scanline.core.tables import BOXES, IMAGES, SPLIT, write_table
from scanline.evaluate.binary import METRICS
from scanline.evaluate.classifier import evaluate_classifier, fit_on_val
from scanline.evaluate.operating_point import OperatingPoint
from scanline.evaluate.options import EvaluateClassifierOptions, EvaluateOptions

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
OPTIONS = EvaluateClassifierOptions(
    target="bleed", patient_salt="salt", evaluate=EvaluateOptions(bootstrap_resamples=200)
)


def with_scoring(**changes):
    scoring = OPTIONS.evaluate.model_copy(update=changes)
    return OPTIONS.model_copy(update={"evaluate": scoring})


def make_tables(images=400, patients=40, seed=0):
    """Scores of val and test, whole patients each, and the images table they belong to."""
    generator = np.random.default_rng(seed)
    patient = np.sort(generator.integers(0, patients, images))
    truth = generator.random(images) < 0.3
    probability = np.clip(generator.normal(np.where(truth, 0.7, 0.3), 0.2), 0, 1).round(2)
    names = [f"source/{index:05d}" for index in range(images)]
    subset = np.where(patient < patients // 2, "val", "test")
    scores = pd.DataFrame({"image_id": names, "subset": subset, "truth": truth, "probability": probability})
    patients = [f"patient{one}" for one in patient]
    return scores, pd.DataFrame({"image_id": names, "patient_id": patients, "width": 64, "height": 32})


@dataclass
class Evaluated:
    """What the rule writes."""

    operating_point: OperatingPoint
    metrics: dict
    per_image: pd.DataFrame
    curves: pd.DataFrame


NO_BOXES = pd.DataFrame({name: [] for name in ("image_id", "label", "x", "y", "width", "height")})


def evaluate(scores, images, options, where="scores table", boxes=NO_BOXES, maps=None):
    """Fit on val and apply, as the rule does."""
    point = fit_on_val(scores, options, where)
    result = evaluate_classifier(scores, images, boxes, maps or {}, options, point, where)
    return Evaluated(point, result.metrics, result.per_image, result.curves)


def test_intervals_draw_groups_of_the_split_where_a_patient_is_unknown():
    scores, images = make_tables()
    groups = images["patient_id"].str.replace("patient", "g")
    known = evaluate(scores, images, OPTIONS)
    unknown = images.assign(patient_id=images["patient_id"].mask(images.index % 3 == 0), group_id=groups)
    found = evaluate(scores, unknown, OPTIONS)
    assert found.metrics["interval"]["clustered_by"] == found.metrics["subsets"]["test"]["clustered_by"] == "group"
    assert known.metrics["interval"]["clustered_by"] == "patient_id"
    for name, metric in known.metrics["subsets"]["test"]["metrics"].items():
        assert found.metrics["subsets"]["test"]["metrics"][name] == metric
    counts = [one.metrics["subsets"]["test"] for one in (known, found)]
    assert counts[0]["clusters"] == counts[1]["clusters"] == counts[0]["patients"]
    assert counts[1]["images_without_patient"] > 0
    assert found.per_image["cluster"].nunique() == known.per_image["patient"].nunique()
    assert not found.per_image["cluster"].str.startswith("g").all()
    assert (known.per_image["cluster"] == known.per_image["patient"]).all()


def as_text(result):
    tables = result.per_image.to_json(), result.curves.to_json()
    return json.dumps([result.metrics, result.operating_point.as_json(), *tables], sort_keys=True, allow_nan=False)


def test_values_equal_scikit_learn_on_the_test_subset():
    scores, images = make_tables()
    result = evaluate(scores, images, OPTIONS)
    test = scores[scores["subset"] == "test"]
    predicted = test["probability"] >= result.metrics["threshold"]
    report = sk.classification_report(test["truth"], predicted, target_names=["negative", "positive"], output_dict=True)
    subset = result.metrics["subsets"]["test"]
    assert subset["metrics"]["accuracy"]["value"] == pytest.approx(report["accuracy"], abs=1e-12)
    assert subset["metrics"]["auroc"]["value"] == pytest.approx(
        sk.roc_auc_score(test["truth"], test["probability"]), abs=1e-12
    )
    for row, key in {
        "negative": "negative",
        "positive": "positive",
        "macro": "macro avg",
        "weighted": "weighted avg",
    }.items():
        ours = subset["per_class"][row]
        assert ours["support"] == report[key]["support"]
        for name, theirs in {"precision": "precision", "recall": "recall", "f1": "f1-score"}.items():
            assert ours[name]["value"] == pytest.approx(report[key][theirs], abs=1e-12)
    tn, fp, fn, tp = sk.confusion_matrix(test["truth"], predicted).ravel()
    assert subset["confusion"] == {"tp": tp, "fp": fp, "fn": fn, "tn": tn}


def test_metrics_have_the_shape_that_figures_and_report_read():
    scores, images = make_tables()
    metrics = evaluate(scores, images, OPTIONS).metrics
    assert {"threshold", "threshold_rule", "threshold_from", "interval", "subsets"} <= set(metrics)
    assert (metrics["threshold_rule"], metrics["threshold_from"]) == ("f1", "val")
    assert metrics["interval"] == {
        "level": 0.95,
        "resamples": 200,
        "clustered_by": "patient_id",
        "method": "percentile",
        "stratified": False,
    }
    assert list(metrics["subsets"]) == ["val", "test"]
    for name, subset in metrics["subsets"].items():
        rows = scores[scores["subset"] == name]
        assert (subset["images"], subset["positives"]) == (len(rows), rows["truth"].sum())
        assert subset["patients"] == subset["clusters"] == images.loc[rows.index, "patient_id"].nunique()
        assert set(subset["metrics"]) == set(METRICS)
        for value in subset["metrics"].values():
            assert value["low"] <= value["value"] <= value["high"]
            assert value["reason"] is None
            assert value["undefined_resamples"] == 0


def test_the_threshold_never_sees_test():
    scores, images = make_tables()
    changed = scores.copy()
    test = changed["subset"] == "test"
    changed.loc[test, "probability"] = 1 - changed.loc[test, "probability"]
    changed.loc[test, "truth"] = ~changed.loc[test, "truth"].sample(frac=1, random_state=0).to_numpy()
    before, after = (evaluate(table, images, OPTIONS) for table in (scores, changed))
    assert before.operating_point == after.operating_point
    assert before.metrics["subsets"]["val"] == after.metrics["subsets"]["val"]
    assert before.metrics["subsets"]["test"] != after.metrics["subsets"]["test"]
    without = changed[changed["subset"] == "val"].index[:1].append(changed[test].index[:1])
    assert evaluate(scores.drop(without[1]), images, OPTIONS).operating_point == before.operating_point
    assert evaluate(scores.drop(without[0]), images, OPTIONS).operating_point != before.operating_point


def test_equal_whatever_the_order_of_rows_and_the_salt_changes_no_number():
    scores, images = make_tables()
    result = evaluate(scores, images, OPTIONS)
    shuffled = evaluate(scores.sample(frac=1, random_state=1), images.sample(frac=1, random_state=2), OPTIONS)
    assert as_text(result) == as_text(shuffled)
    salted = evaluate(scores, images, OPTIONS.model_copy(update={"patient_salt": "other"}))
    assert salted.metrics == result.metrics
    reseeded = evaluate(scores, images, with_scoring(seed=1))
    assert reseeded.metrics != result.metrics
    assert reseeded.operating_point == result.operating_point


def test_single_images_show_outcomes_and_pseudonyms():
    scores, images = make_tables()
    images.loc[0, "patient_id"] = None
    table = evaluate(scores, images, OPTIONS).per_image
    columns = ["image_id", "patient", "cluster", "subset", "truth", "probability", "predicted", "outcome"]
    assert list(table) == [*columns, "pointing_hit", "mass_inside"]
    assert len(table) == len(scores)
    expected = {(True, True): "TP", (False, True): "FP", (True, False): "FN", (False, False): "TN"}
    for row in table.itertuples():
        assert row.outcome == expected[row.truth, row.predicted]
    assert set(table["outcome"]) == {"TP", "FP", "FN", "TN"}
    patients = table["image_id"].map(images.set_index("image_id")["patient_id"])
    assert table["patient"].isna().sum() == 1
    known = patients.notna()
    assert (table.loc[known, "patient"] == patients[known].map(lambda one: pseudonym(one, "salt"))).all()
    assert not table["patient"].isin(patients[known]).any()


def test_pseudonyms_are_the_head_of_a_salted_digest():
    assert pseudonym("12", "salt") == hashlib.sha256(b"salt12").hexdigest()[:12]
    assert pseudonym("12", "salt") != pseudonym("12", "other")


def test_images_without_a_patient_are_clusters_of_their_own_and_the_file_says_so():
    scores, images = make_tables()
    images["patient_id"] = pd.Series([None] * len(images), dtype="str")
    metrics = evaluate(scores, images, OPTIONS).metrics
    assert metrics["interval"]["clustered_by"] == "image_id"
    test = metrics["subsets"]["test"]
    assert test["patients"] == 0
    assert test["clusters"] == test["images"] == test["images_without_patient"]
    scores, images = make_tables()
    in_test = scores.index[scores["subset"] == "test"]
    images.loc[in_test[:5], "patient_id"] = None
    metrics = evaluate(scores, images, OPTIONS).metrics
    assert metrics["interval"]["clustered_by"] == "patient_id"
    test = metrics["subsets"]["test"]
    assert test["images_without_patient"] == 5
    assert test["clusters"] == test["patients"] + 5


def test_undefined_metrics_are_null_with_their_reason():
    scores, images = make_tables()
    scores.loc[scores["subset"] == "test", "truth"] = False
    result = evaluate(scores, images, OPTIONS)
    json.dumps(result.metrics, allow_nan=False)
    test = result.metrics["subsets"]["test"]
    assert test["metrics"]["recall"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "no image is positive",
        "undefined_resamples": None,
    }
    assert test["metrics"]["auroc"]["value"] is None
    assert test["metrics"]["precision"]["value"] == 0  # there are false positives: defined
    assert test["metrics"]["specificity"]["value"] is not None
    assert test["per_class"]["macro"]["recall"]["reason"] == "no image is positive"
    assert test["per_class"]["weighted"]["recall"]["value"] == test["metrics"]["accuracy"]["value"]
    curves = result.curves
    assert curves[curves["subset"] == "test"].empty
    assert not curves[curves["subset"] == "val"].empty


def test_resamples_without_positives_are_counted():
    scores, images = make_tables()
    test = scores.index[scores["subset"] == "test"]
    scores.loc[test, "truth"] = False
    scores.loc[test[0], "truth"] = True
    auroc = evaluate(scores, images, OPTIONS).metrics["subsets"]["test"]["metrics"]["auroc"]
    assert auroc["low"] is not None
    assert 40 < auroc["undefined_resamples"] < 110  # one patient of 20 is missed by (1 - 1/20)^20 = 36%


def test_one_test_patient_has_values_and_no_interval():
    scores, images = make_tables()
    images.loc[scores["subset"] == "test", "patient_id"] = "the only one"
    accuracy = evaluate(scores, images, OPTIONS).metrics["subsets"]["test"]["metrics"]["accuracy"]
    assert accuracy["value"] > 0
    assert accuracy["low"] is None
    assert "one cluster" in accuracy["reason"]


def test_external_is_measured_with_the_same_threshold():
    scores, images = make_tables()
    last = scores.index[scores["subset"] == "test"][-80:]
    scores.loc[last, "subset"] = "external"
    result = evaluate(scores, images, OPTIONS)
    assert list(result.metrics["subsets"]) == ["val", "test", "external"]
    external = result.per_image[result.per_image["subset"] == "external"]
    assert (external["predicted"] == (external["probability"] >= result.operating_point.threshold)).all()


def test_the_fixed_rule_serves_where_val_is_empty():
    scores, images = make_tables()
    options = with_scoring(operating_point="fixed")
    result = evaluate(scores[scores["subset"] == "test"], images, options)
    assert list(result.metrics["subsets"]) == ["test"]
    assert (result.metrics["threshold"], result.metrics["threshold_from"]) == (0.5, "configuration")


def test_subgroups_are_measured_where_the_tables_tell_them_apart():
    scores, images = make_tables()
    images["sex"] = np.where(np.arange(len(images)) % 3 == 0, "female", "male")
    images.loc[5, "sex"] = None
    images["age_years"] = np.linspace(20, 90, len(images))
    images["scanner"] = "the only one"
    ids = scores.loc[scores["truth"], "image_id"].tolist()
    sides = np.linspace(1, 30, len(ids))
    boxes = pd.DataFrame({"image_id": ids, "label": "bleed", "x": 0.0, "y": 0.0, "width": sides, "height": sides})
    result = evaluate(scores, images, OPTIONS, boxes=boxes)
    json.dumps(result.metrics, allow_nan=False)
    assert list(result.metrics["subgroups"]) == ["test"]
    found = {
        column["by"]: {group["name"]: group for group in column["groups"]}
        for column in result.metrics["subgroups"]["test"]
    }
    assert list(found) == ["sex", "age_years", "lesion_size"]
    test = scores[scores["subset"] == "test"]
    women = test[images.loc[test.index, "sex"] == "female"]
    female = found["sex"]["female"]
    assert (female["images"], female["positives"]) == (len(women), women["truth"].sum())
    auroc = sk.roc_auc_score(women["truth"], women["probability"])
    assert female["metrics"]["auroc"]["value"] == pytest.approx(auroc, abs=1e-12)
    assert "few patients" in female["warning"]
    assert list(found["age_years"]) == ["40 to under 65 years", "65 to under 80 years", "80 years and over"]
    sizes = found["lesion_size"]
    assert [name.split()[0] for name in sizes][:2] == ["no", "under"]
    assert len(sizes) == 4
    assert "without" not in sizes["no lesion"]["warning"]
    assert sizes["no lesion"]["metrics"]["recall"]["reason"] == "no image is positive"
    assert sum(row["positives"] for row in sizes.values()) == test["truth"].sum()
    none = evaluate(scores, images, with_scoring(subgroups=()), boxes=boxes)
    assert none.metrics["subgroups"]["test"] == []


def test_maps_of_positive_images_are_scored_against_their_boxes():
    scores, images = make_tables()
    positive = scores.loc[scores["truth"], "image_id"].tolist()
    boxes = pd.DataFrame(
        {"image_id": positive[:-1], "label": "bleed", "x": 32.0, "y": 0.0, "width": 32.0, "height": 16.0}
    )
    other = pd.DataFrame(
        {"image_id": scores["image_id"], "label": "tube", "x": 0.0, "y": 0.0, "width": 9.0, "height": 9.0}
    )
    right, wrong = np.zeros((2, 2), np.float16), np.zeros((2, 2), np.float16)
    right[0, 1] = wrong[1, 0] = 1
    maps = {name: right if index % 4 else wrong for index, name in enumerate(positive)}
    result = evaluate(scores, images, OPTIONS, boxes=pd.concat([boxes, other]), maps=maps)
    table = result.per_image.set_index("image_id")
    assert table["pointing_hit"].notna().sum() == len(positive) - 1
    assert table.loc[positive[0], "pointing_hit"] == 0
    assert table.loc[positive[1], ["pointing_hit", "mass_inside"]].tolist() == [1, 1]
    localized = result.metrics["localization"]["test"]
    expected = table.loc[(table["subset"] == "test") & table["pointing_hit"].notna(), "pointing_hit"].mean()
    assert localized["metrics"]["pointing_game"]["value"] == pytest.approx(expected)
    assert localized["metrics"]["lesion_share"]["value"] == pytest.approx(0.25)
    assert evaluate(scores, images, OPTIONS).metrics["localization"]["test"] is None


def test_the_gap_to_external_is_test_minus_external():
    scores, images = make_tables()
    assert evaluate(scores, images, OPTIONS).metrics["gap"] is None
    last = scores.index[scores["subset"] == "test"][-80:]
    scores.loc[last, "subset"] = "external"
    metrics = evaluate(scores, images, OPTIONS).metrics
    for name, gap in metrics["gap"].items():
        test, external = (metrics["subsets"][one]["metrics"][name]["value"] for one in ("test", "external"))
        assert gap["value"] == pytest.approx(test - external)
        assert gap["low"] <= gap["value"] <= gap["high"]
    assert set(metrics["subgroups"]) == {"test", "external"}


def test_an_operating_point_of_other_scores_is_refused():
    scores, images = make_tables()
    others = scores.assign(probability=1 - scores["probability"])
    point = fit_on_val(others, OPTIONS)
    with pytest.raises(InputError, match="operating point: scores_sha256: found"):
        evaluate_classifier(scores, images, NO_BOXES, {}, OPTIONS, point)


def test_the_temperature_of_val_is_applied_to_all():
    scores, images = make_tables()
    metrics = evaluate(scores, images, with_scoring(temperature_scaling=True)).metrics
    plain = evaluate(scores, images, OPTIONS).metrics
    before, after = (one["subsets"]["val"]["metrics"]["log_loss"]["value"] for one in (plain, metrics))
    assert metrics["temperature"] != 1
    assert after < before
    assert metrics["operating_point_sha256"] != plain["operating_point_sha256"]
    aurocs = [one["subsets"]["test"]["metrics"]["auroc"]["value"] for one in (plain, metrics)]
    assert aurocs[0] == aurocs[1]


def set_value(column, value, dtype=None):
    def change(scores):
        scores = scores.copy()
        if dtype is not None:
            scores[column] = scores[column].astype(dtype)
        scores.loc[3, column] = value
        return scores

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_value("probability", np.nan), "image source/00003: probability: found null"),
        (set_value("probability", 1.5), "found 1.5"),
        (set_value("probability", -1e-9), "a finite number from 0 to 1"),
        (set_value("probability", np.inf), "found inf"),
        (lambda scores: scores.assign(probability=scores["probability"].astype(str)), "expected numbers"),
        (set_value("truth", pd.NA, "boolean"), "image source/00003: truth: found null"),
        (lambda scores: scores.assign(truth=scores["truth"].astype(int)), "expected booleans"),
        (set_value("image_id", "source/00002"), "expected each image once"),
        (set_value("image_id", "elsewhere/1"), "an image of the images table"),
        (set_value("image_id", None), "1 rows without one"),
        (set_value("subset", "train"), "found 'train'; expected one of val, test, external"),
        (lambda scores: scores.drop(columns="truth"), "expected truth as well"),
        (lambda scores: scores[scores["subset"] == "val"], "subset test: found no images"),
        (lambda scores: scores[scores["subset"] == "test"], "subset val: found 0 positive and 0 negative"),
        (lambda scores: scores.iloc[:0], "subset test: found no images"),
        (
            lambda scores: scores.assign(truth=scores["truth"] & (scores["subset"] == "test")),
            "subset val: found 0 positive",
        ),
    ],
)
def test_unfit_scores_are_refused_in_one_line(change, message):
    scores, images = make_tables()
    with pytest.raises(InputError, match=r"scores\.parquet") as caught:
        evaluate(change(scores), images, OPTIONS, where="scores.parquet")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_twice_in_the_images_table_is_refused():
    scores, images = make_tables()
    with pytest.raises(InputError, match="images table"):
        evaluate(scores, pd.concat([images, images.iloc[:1]]), OPTIONS)


def write_inputs(folder):
    scores, images = make_tables()
    names = images["image_id"]
    images = IMAGES.validate(
        images.assign(
            source="source", path=names, volume_id=None, slice_index=None, modality="CT",
            sha256=names, phash=None, mask_path=None,
        )
    )  # fmt: skip
    scores.to_parquet(folder / "scores.parquet", index=False)
    images.to_parquet(folder / "images.parquet", index=False)
    write_table(NO_BOXES, folder / "boxes.parquet", BOXES)
    split = scores[["image_id", "subset"]].assign(group_id=names, dropped_by=None, reason=None)[list(SPLIT.columns)[:5]]
    write_table(split, folder / "split.parquet", SPLIT)
    np.savez(folder / "cams.npz", image_id=np.array([], str), cam=np.zeros((0, 4, 4), np.float16))


def call(folder, **environment):
    names = {
        "scores": "scores.parquet", "images": "images.parquet", "boxes": "boxes.parquet", "cams": "cams.npz",
        "split": "split.parquet",
        "metrics": "metrics.json",
        "operating-point": "operating_point.json", "per-image": "per_image.parquet",
        "per-image-csv": "per_image.csv", "curves": "curves.parquet",
    }  # fmt: skip
    arguments = [part for flag, name in names.items() for part in (f"--{flag}", str(folder / name))]
    return subprocess.run(
        [
            sys.executable,
            SCRIPTS / "evaluate_classifier.py",
            *arguments,
            "--options",
            OPTIONS.model_dump_json(),
        ],
        capture_output=True,
        text=True,
        env=environment,
    )


def test_the_command_line_writes_equal_bytes_under_any_hash_seed(tmp_path):
    write_inputs(tmp_path)
    made = []
    for hash_seed in ("1", "2"):
        done = call(tmp_path, PYTHONHASHSEED=hash_seed)
        assert done.returncode == 0, done.stderr
        assert "test: " in done.stderr
        outputs = [
            "metrics.json",
            "operating_point.json",
            "per_image.parquet",
            "per_image.csv",
            "curves.parquet",
        ]
        made.append({name: (tmp_path / name).read_bytes() for name in outputs})
    assert made[0] == made[1]
    table = pd.read_csv(tmp_path / "per_image.csv")
    pd.testing.assert_frame_equal(table, pd.read_parquet(tmp_path / "per_image.parquet"), check_dtype=False)


def test_bad_scores_end_the_command_line_in_one_line(tmp_path):
    write_inputs(tmp_path)
    pd.read_parquet(tmp_path / "scores.parquet").assign(probability=2.0).to_parquet(tmp_path / "scores.parquet")
    done = call(tmp_path)
    assert done.returncode == 1
    assert [line.split()[2] for line in done.stderr.splitlines()] == ["INFO", "ERROR"]  # INFO: the environment
    assert "a finite number from 0 to 1" in done.stderr
    assert not (tmp_path / "metrics.json").exists()


def test_the_stage_imports_neither_torch_nor_snakemake():
    code = (
        "import sys, scanline.evaluate.classifier, scanline.evaluate.leakage;"
        "sys.exit(bool({'torch', 'snakemake', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, env={}).returncode == 0
