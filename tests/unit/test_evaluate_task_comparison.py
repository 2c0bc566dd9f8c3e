"""Tasks of several kinds compared by one question."""

import dataclasses
import json
import sys

import numpy as np
import pandas as pd
import pytest
from answering_runs import (
    ANSWERS,
    TASKS,
    THRESHOLDS,
    make_run,
    make_runs,
    make_truth,
    noisy_score,
    options_of,
    run_of,
    write_runs,
)
from sklearn.metrics import average_precision_score, f1_score, recall_score, roc_auc_score

import compare_tasks as script
from scanline.core.errors import InputError
from scanline.core.files import read_json
from scanline.evaluate.answers import read_answers, read_run_files
from scanline.evaluate.binary import BinaryMetrics
from scanline.evaluate.bootstrap import resample, seeded_generator
from scanline.evaluate.inputs import as_clusters
from scanline.evaluate.operating_point import best_threshold
from scanline.evaluate.task_comparison import METRICS, compare_tasks, count_agreement


@pytest.fixture(scope="module")
def cohort():
    split, labels, table = make_truth()
    return split, labels, table, make_runs(table)


def compared(split, labels, runs, question=None, **scoring):
    return compare_tasks(runs, {"grouped": split}, labels, options_of(runs, question, **scoring))


@pytest.fixture(scope="module")
def result(cohort):
    split, labels, _, runs = cohort
    return compared(split, labels, runs)


def only(result):
    (comparison,) = result.summary["comparisons"]
    return comparison


def by_task(comparison):
    return {run["task"]: run for run in comparison["runs"]}


def sklearn_metrics(truth, score, predicted):
    return {
        "auroc": roc_auc_score(truth, score),
        "auprc": average_precision_score(truth, score),
        "recall": recall_score(truth, predicted),
        "specificity": recall_score(~truth, ~predicted),
        "f1": f1_score(truth, predicted),
        "accuracy": (truth == predicted).mean(),
    }


@pytest.mark.parametrize("place", range(4))
def test_image_metrics_are_those_of_scikit_learn(cohort, result, place):
    _, _, table, runs = cohort
    test = (table["subset"] == "test").to_numpy()
    score = noisy_score(table, place)
    run = runs[place].run
    expected = sklearn_metrics(table["bleed"].to_numpy()[test], score[test], (score >= THRESHOLDS[run.kind])[test])
    found = by_task(only(result))[run.task]["image"]["metrics"]
    assert set(found) == set(METRICS) == set(expected)
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-12), name
        assert found[name]["low"] <= value <= found[name]["high"]


def test_patient_metrics_are_those_of_the_highest_image():
    split, labels, table = make_truth(positive_patients=0.75, test_patients=12)
    runs = make_runs(table)
    comparison = only(compared(split, labels, runs))
    test = table[table["subset"] == "test"]
    assert comparison["levels"]["patient"] == {
        "cases": 12,
        "positives": int(test.groupby("patient")["bleed"].any().sum()),
        "negatives": int((~test.groupby("patient")["bleed"].any()).sum()),
    }
    assert comparison["levels"]["patient"]["negatives"] > 1
    for place, one in enumerate(runs):
        rows = test.assign(score=noisy_score(table, place)[test.index])
        highest = rows.groupby("patient").agg({"bleed": "any", "score": "max"})
        predicted = (highest["score"] >= THRESHOLDS[one.run.kind]).to_numpy()
        expected = sklearn_metrics(highest["bleed"].to_numpy(), highest["score"].to_numpy(), predicted)
        found = by_task(comparison)[one.run.task]["patient"]["metrics"]
        for name, value in expected.items():
            assert found[name]["value"] == pytest.approx(value, abs=1e-12), name


def test_where_every_patient_has_it_there_is_sensitivity_alone(result):
    comparison = only(result)
    assert comparison["levels"]["patient"] == {"cases": 8, "positives": 8, "negatives": 0}
    for run in comparison["runs"]:
        metrics = run["patient"]["metrics"]
        for name in ("auroc", "auprc", "specificity"):
            assert metrics[name]["value"] is None
            assert metrics[name]["low"] is None
            assert metrics[name]["reason"] == "no patient is negative"
        assert metrics["recall"]["value"] is not None
        assert metrics["recall"]["value"] == metrics["accuracy"]["value"]
    for pair in comparison["differences"]:
        assert pair["patient"]["metrics"]["specificity"]["reason"] == "no patient is negative"
        assert pair["patient"]["metrics"]["recall"]["value"] is not None


def test_four_images_by_hand():
    table = pd.DataFrame(
        {
            "image_id": ["v1", "v2", "a1", "a2", "b1", "b2"],
            "patient": ["v", "v", "a", "a", "b", "b"],
            "subset": ["val", "val", "test", "test", "test", "test"],
            "bleed": [True, False, True, False, True, False],
        }
    )
    split = table[["image_id", "subset"]].assign(group_id=table["patient"], dropped_by=None, reason=None)
    labels = table[["image_id", "bleed"]].astype({"bleed": "boolean"})
    classify = make_run(table, run_of("classify"), np.array([0.9, 0.1, 0.9, 0.6, 0.4, 0.1]))
    detect = make_run(table, run_of("detect"), np.array([0.9, 0.1, 0.0, 0.0, 0.7, 0.2]))
    comparison = only(compared(split, labels, [classify, detect]))
    first, second = comparison["runs"]
    assert first["image"]["confusion"] == {"tp": 1, "fp": 1, "fn": 1, "tn": 1}
    assert second["image"]["confusion"] == {"tp": 1, "fp": 0, "fn": 1, "tn": 2}
    assert first["image"]["metrics"]["auroc"]["value"] == 0.75  # 0.9 over both, 0.4 over 0.1
    assert second["image"]["metrics"]["auroc"]["value"] == pytest.approx((0.5 + 0 + 1 + 1) / 4)  # 0 ties with 0
    assert first["patient"]["confusion"] == {"tp": 1, "fp": 0, "fn": 1, "tn": 0}
    (pair,) = comparison["differences"]
    assert (pair["first"]["task"], pair["second"]["task"]) == ("classify", "detect")
    assert pair["image"]["metrics"]["specificity"]["value"] == -0.5
    assert pair["same_answer"] == 0.25
    assert {row["who"] + (row["task"] or ""): row["images"] for row in comparison["agreement"]} == {
        "all_right": 1,
        "only_wrongclassify": 2,
        "only_wrongdetect": 1,
        "all_wrong": 0,
    }


def test_all_runs_and_differences_share_the_draws_of_patients(cohort, result):
    """The intervals are those of one bootstrap of the test patients, done here by hand."""
    _, _, table, runs = cohort
    test = table[table["subset"] == "test"].sort_values("image_id")
    clusters = as_clusters(test["patient"], len(test))
    truth = test["bleed"].to_numpy()
    drawn = []
    for place in (0, 2):
        score = noisy_score(table, place)[test.index]
        measure = BinaryMetrics(truth, score >= THRESHOLDS[runs[place].run.kind], score, clusters)
        drawn.append(resample(measure, measure.clusters, 200, seeded_generator(0, "compare_tasks", "image")))
    comparison = only(result)
    (pair,) = [
        one
        for one in comparison["differences"]
        if (one["first"]["task"], one["second"]["task"]) == ("classify", "detect")
    ]
    for name in ("auroc", "recall", "f1"):
        low, high = np.quantile(drawn[0][name] - drawn[1][name], [0.025, 0.975])
        assert pair["image"]["metrics"][name]["low"] == pytest.approx(low, abs=1e-12)
        assert pair["image"]["metrics"][name]["high"] == pytest.approx(high, abs=1e-12)
        low, high = np.quantile(drawn[1][name], [0.025, 0.975])
        assert by_task(comparison)["detect"]["image"]["metrics"][name]["low"] == pytest.approx(low, abs=1e-12)
        assert by_task(comparison)["detect"]["image"]["metrics"][name]["high"] == pytest.approx(high, abs=1e-12)


def test_tasks_that_say_the_same_do_not_differ(cohort):
    split, labels, table, _ = cohort
    score = noisy_score(table, 3)
    runs = [make_run(table, run_of("classify"), score), make_run(table, run_of("multilabel"), score)]
    question = {"thresholds": "question"}
    (pair,) = only(compared(split, labels, runs, question))["differences"]
    assert pair["same_answer"] == 1.0
    for name in METRICS:
        metric = pair["image"]["metrics"][name]
        assert (metric["value"], metric["low"], metric["high"]) == (0.0, 0.0, 0.0)


def test_the_order_of_runs_and_rows_does_not_matter(cohort, result):
    split, labels, _, runs = cohort
    shuffled = [
        dataclasses.replace(
            one,
            images=one.images.sample(frac=1, random_state=5),
            detections=None if one.detections is None else one.detections.sample(frac=1, random_state=6),
        )
        for one in (runs[2], runs[0], runs[3], runs[1])
    ]
    again = compared(split.sample(frac=1, random_state=1), labels.sample(frac=1, random_state=2), shuffled)
    assert again.summary == result.summary
    pd.testing.assert_frame_equal(again.table, result.table)
    pd.testing.assert_frame_equal(again.answers, result.answers)


def test_images_that_a_run_did_not_score_are_left_out_of_all_and_counted(cohort):
    split, labels, table, runs = cohort
    labels, split = labels.copy(), split.copy()
    test = table.loc[table["subset"] == "test", "image_id"].tolist()
    labels.loc[labels["image_id"].isin(test[:2]), "bleed"] = pd.NA
    split.loc[split["image_id"] == test[2], "dropped_by"] = "undersample"
    without = [*test[:2], test[3]]
    runs = [
        dataclasses.replace(runs[0], images=runs[0].images[~runs[0].images["image_id"].isin([test[4], test[2]])]),
        dataclasses.replace(runs[1], images=runs[1].images[~runs[1].images["image_id"].isin([*without, test[2]])]),
        dataclasses.replace(runs[2], images=runs[2].images[runs[2].images["image"] != test[2]]),
        runs[3],
    ]
    comparison = only(compared(split, labels, runs))
    assert comparison["images"] == len(test) - 5
    assert comparison["left_out"] == [
        {"reason": "bleed unknown", "images": 2},
        {"reason": "dropped by balancing", "images": 1},
        {"reason": "not scored by classify, net, split grouped, seed 1", "images": 1},
        {"reason": "not scored by multilabel, net, split grouped, seed 1", "images": 1},
    ]
    assert comparison["patients_left_out"] == 0
    kept = set(test) - set(test[:5])
    for run in comparison["runs"]:
        assert sum(run["image"]["confusion"].values()) == len(kept)
    whole = [dataclasses.replace(one, images=_without_patient(one.images, "p6")) for one in runs[:1]] + runs[1:]
    assert only(compared(split, labels, whole))["patients_left_out"] == 1


def _without_patient(images, patient):
    return images[images["patient"] != patient]


def test_no_image_in_common_is_undefined_and_no_crash(cohort):
    split, labels, _, runs = cohort
    half = runs[0].images["patient"].isin(["p6", "p7", "p8", "p9", "p0", "p1"])
    first = dataclasses.replace(runs[0], images=runs[0].images[half])
    second = dataclasses.replace(runs[1], images=runs[1].images[~half])
    result = compared(split, labels, [first, second])
    comparison = only(result)
    assert comparison["images"] == 0
    assert len(result.answers) == 0
    for run in comparison["runs"]:
        assert run["val_auroc"] is None
        assert {metric["value"] for metric in run["image"]["metrics"].values()} == {None}
    assert comparison["differences"][0]["same_answer"] is None
    assert {row["images"] for row in comparison["agreement"]} == {0}


def test_val_chooses_who_stands_for_a_task_and_test_does_not(cohort):
    split, labels, table, runs = cohort
    truth, val = table["bleed"].to_numpy(), (table["subset"] == "val").to_numpy()
    perfect, blind = np.where(truth, 0.9, 0.1), np.full(len(table), 0.5)
    good_on_val = make_run(table, run_of("classify", "aaa"), np.where(val, perfect, blind))
    good_on_test = make_run(table, run_of("classify", "bbb"), np.where(val, blind, perfect))
    comparison = only(compared(split, labels, [good_on_test, good_on_val, runs[1]]))
    chosen = {run["model"]: run["stands_for_task"] for run in comparison["runs"]}
    assert chosen == {"aaa": True, "bbb": False, "net": True}
    assert [run["val_auroc"] for run in comparison["runs"]][:2] == [1.0, 0.5]
    assert [(pair["first"]["model"], pair["second"]["model"]) for pair in comparison["differences"]] == [("aaa", "net")]
    assert comparison["chosen_on"] == {"subset": "val", "metric": "auroc", "images": int(val.sum())}


def test_equals_on_val_are_told_apart_by_name_and_seed(cohort):
    split, labels, table, runs = cohort
    score = noisy_score(table, 0)
    same = [make_run(table, run_of("classify", "net", seed), score) for seed in (3, 2)]
    comparison = only(compared(split, labels, [*same, runs[1]]))
    assert [(run["seed"], run["stands_for_task"]) for run in comparison["runs"][:2]] == [(2, True), (3, False)]


@pytest.mark.parametrize("scaling", [False, True])
def test_thresholds_of_the_question_come_from_val_by_the_studys_rule(cohort, scaling):
    split, labels, table, runs = cohort
    comparison = only(
        compared(split, labels, runs, {"thresholds": "question"}, operating_point="youden", temperature_scaling=scaling)
    )
    val = (table["subset"] == "val").to_numpy()
    truth = table["bleed"].to_numpy()
    for place, one in enumerate(runs):
        score = noisy_score(table, place)
        expected, _ = best_threshold("youden", truth[val], score[val])
        found = by_task(comparison)[one.run.task]
        assert found["threshold"] == expected
        assert found["image"]["confusion"]["tp"] == int((truth & (score >= expected) & ~val).sum())


def test_the_own_thresholds_are_those_frozen_by_each_task(result):
    assert {run["task"]: run["threshold"] for run in only(result)["runs"]} == {
        task: THRESHOLDS[kind] for task, kind in TASKS.items()
    }


def test_a_segmenter_answers_by_its_mask_not_by_its_largest_probability(cohort):
    _, _, table, runs = cohort
    images = runs[3].images.assign(predicted=False)  # as with min_predicted_pixels above all masks
    answers, _ = read_answers(dataclasses.replace(runs[3], images=images), "oedema")
    assert not answers["predicted"].any()
    np.testing.assert_array_equal(answers["score"], noisy_score(table, 3))


def test_a_detector_answers_by_its_best_box_of_the_class(cohort):
    _, _, table, runs = cohort
    answers, threshold = read_answers(runs[2], "bleed")
    score = noisy_score(table, 2)
    np.testing.assert_array_equal(answers["score"], score)
    assert (score == 0).any()
    np.testing.assert_array_equal(answers["predicted"], score >= threshold)
    others, _ = read_answers(runs[2], "other")
    np.testing.assert_array_equal(others["score"], np.where(score > 0, 0.95, 0.0))


def test_images_without_a_patient_count_as_images_alone(cohort):
    split, labels, _, runs = cohort
    lost = [
        dataclasses.replace(one, images=one.images.assign(patient=one.images["patient"].where(lambda p: p != "p9")))
        for one in runs
    ]
    comparison = only(compared(split, labels, lost))
    assert (comparison["images_without_patient"], comparison["patients"]) == (6, 7)
    assert comparison["levels"]["patient"]["cases"] == 7
    assert comparison["images"] == 48


def test_questions_and_splits_are_kept_apart(cohort):
    split, labels, _, runs = cohort
    naive = [
        dataclasses.replace(one, run=one.run.model_copy(update={"split": "naive_image"})) for one in (runs[0], runs[2])
    ]
    alone = dataclasses.replace(runs[0], run=runs[0].run.model_copy(update={"split": "third"}))
    every = [*runs, *naive, alone]
    options = options_of(every)
    two = {"title": "?", "label": "bleed", "answers": {"classify": "bleed", "segment": "oedema"}}
    options = options.model_validate({**options.model_dump(), "questions": {"q": two, **options.questions}})
    splits = dict.fromkeys(("grouped", "naive_image", "third"), split)
    result = compare_tasks(every, splits, labels, options)
    found = [(one["question"], one["split"], len(one["runs"])) for one in result.summary["comparisons"]]
    assert found == [("bleed_on_slice", "grouped", 4), ("bleed_on_slice", "naive_image", 2), ("q", "grouped", 2)]
    assert set(result.table["split"]) == {"grouped", "naive_image"}
    with pytest.raises(InputError, match="no question that two tasks of one split answer"):
        compare_tasks([runs[0], alone], splits, labels, options)


def test_stratified_and_bca_intervals_are_computed(cohort):
    split, labels, _, runs = cohort
    comparison = only(compared(split, labels, runs, stratified=True, interval_method="bca"))
    metric = comparison["runs"][0]["image"]["metrics"]["auroc"]
    assert metric["low"] < metric["value"] < metric["high"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda runs: runs[0].images.drop(columns="probability"), "probability as well"),
        (lambda runs: pd.concat([runs[0].images] * 2), "found two rows; expected each image once"),
        (lambda runs: runs[0].images.assign(probability=1.5), "found score 1.5; expected a number from 0 to 1"),
        (lambda runs: runs[0].images.assign(probability=np.nan), "found score nan"),
        (lambda runs: runs[0].images.replace({"patient": {"p9": "q"}}), "found patient p9; expected q"),
        (lambda runs: runs[0].images.replace({"subset": {"val": "test"}}), "expected images of"),
    ],
)
def test_tables_that_do_not_fit_are_one_line(cohort, change, message):
    split, labels, _, runs = cohort
    wrong = dataclasses.replace(runs[0], images=change(runs))
    with pytest.raises(InputError, match=message) as caught:
        compared(split, labels, [wrong, *runs[1:]])
    assert "\n" not in str(caught.value)


def test_an_unknown_class_is_one_line(cohort):
    split, labels, _, runs = cohort
    with pytest.raises(InputError, match="labels table: columns: found image_id, bleed, oedema; expected the class b"):
        compared(split, labels, runs, {"label": "bruise"})
    with pytest.raises(InputError, match="expected probability_bruise, predicted_bruise as well"):
        compared(split, labels, runs, {"answers": {**ANSWERS, "multilabel": "bruise"}})
    with pytest.raises(InputError, match="operating point: found oedema; expected the label bleed"):
        read_answers(dataclasses.replace(runs[1], point={"labels": {"oedema": {}}}), "bleed")
    with pytest.raises(InputError, match="operating point: found None; expected a threshold"):
        read_answers(dataclasses.replace(runs[0], point={}), "bleed")
    with pytest.raises(InputError, match="no table of detections"):
        read_answers(dataclasses.replace(runs[2], detections=None), "bleed")


def test_agreement_of_four_counts_each_image_once():
    generator = np.random.default_rng(1)
    truth, predicted = generator.random(300) < 0.4, generator.random((4, 300)) < 0.5
    rows = count_agreement(truth, predicted, list("abcd"))
    assert sum(row["images"] for row in rows) == 300
    assert sum(row["positives"] for row in rows) == truth.sum()
    wrong = predicted != truth
    for row in rows:
        expected = {
            "all_right": wrong.sum(axis=0) == 0,
            "all_wrong": wrong.sum(axis=0) == 4,
            "mixed": wrong.sum(axis=0) == 2,
        }.get(row["who"])
        if expected is None:
            place = "abcd".index(row["task"])
            count = 1 if row["who"] == "only_wrong" else 3
            alone = wrong[place] if row["who"] == "only_wrong" else ~wrong[place]
            expected = (wrong.sum(axis=0) == count) & alone
        assert row["images"] == expected.sum()
        assert row["positives"] == (expected & truth).sum()
        assert row["negatives"] == (expected & ~truth).sum()


def test_the_table_and_the_answers_hold_what_the_summary_says(result):
    table, answers, comparison = result.table, result.answers, only(result)
    assert len(table) == 8
    row = table[(table["level"] == "image") & (table["task"] == "segment")].iloc[0]
    metric = by_task(comparison)["segment"]["image"]["metrics"]["auroc"]
    assert (row["auroc"], row["auroc_low"], row["auroc_high"]) == (metric["value"], metric["low"], metric["high"])
    assert table.loc[table["level"] == "patient", ["auroc", "auprc", "specificity"]].isna().all(axis=None)
    one = answers[answers["task"] == "detect"]
    counts = by_task(comparison)["detect"]["image"]["confusion"]
    assert int((one["truth"] & one["predicted"]).sum()) == counts["tp"]
    assert len(answers) == 4 * comparison["images"]


def arguments(monkeypatch, options, words, folder):
    outputs = ["--comparison", f"{folder}/c.json", "--table", f"{folder}/t.csv", "--answers", f"{folder}/a.parquet"]
    monkeypatch.setattr(sys, "argv", ["compare_tasks.py", "--options", options, *words, *outputs])


@pytest.mark.parametrize("with_detection", [True, False])
def test_the_script_writes_the_same_files_twice(cohort, tmp_path, monkeypatch, with_detection):
    split, labels, _, runs = cohort
    runs = runs if with_detection else [runs[0], runs[3]]
    words = write_runs(tmp_path, runs, split, labels)
    options = options_of(runs).model_dump_json()
    contents = []
    for turn in ("first", "second"):
        arguments(monkeypatch, options, words, tmp_path / turn)
        script.main()
        contents.append([(tmp_path / turn / name).read_bytes() for name in ("c.json", "t.csv", "a.parquet")])
    assert contents[0] == contents[1]
    assert read_json(tmp_path / "first/c.json") == json.loads(json.dumps(compared(split, labels, runs).summary))


def test_too_few_files_are_one_line(cohort):
    _, _, _, runs = cohort
    listed = [one.run for one in runs]
    with pytest.raises(InputError, match="--points: found 1 files; expected 4"):
        read_run_files(listed, [None] * 4, [None], [None])
    with pytest.raises(InputError, match="--detections: found 0 files; expected 1"):
        read_run_files(listed, [None] * 4, [None] * 4, [])
