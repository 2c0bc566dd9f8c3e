"""The spread over seeds, and ensembles against the best of their members."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scanline.core.errors import InputError
from scanline.core.tables import labels_schema, validate
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.seeds import COLUMNS, COMPARED, Curated, SeedFiles, compare_seeds, spread_of, table_of
from scanline.evaluate.seeds_options import CompareSeedsOptions, SeedRun
from scanline.report.kinds import KINDS, seed_columns_of
from scanline.report.seeds import describe_seeds

PATIENTS, SLICES = 12, 5
IDS = [f"p{patient}/{number}" for patient in range(PATIENTS) for number in range(SLICES)]
PATIENT = [f"p{patient}" for patient in range(PATIENTS) for _ in range(SLICES)]
TRUTH = np.array([number % 2 == 0 for _ in range(PATIENTS) for number in range(SLICES)])
EVALUATE = EvaluateOptions(bootstrap_resamples=200)


def run(model, seed, kind, targets=("bleed",), members=()):
    return SeedRun(split="grouped", task="task", kind=kind, targets=targets, model=model, seed=seed, members=members)


HEADLINE = {kind: {name: place for name, (_, place) in KINDS[kind].headline.items()} for kind in COMPARED}
ENSEMBLE = {"members": ({"model": "net", "seed": 1}, {"model": "net", "seed": 2})}


def estimate(value):
    return {"value": value, "low": None, "high": None, "reason": None, "undefined_resamples": 0}


def metrics_with(kind, val, test):
    """metrics.json with every headline metric of the kind at one value."""

    def subset(value):
        found = {}
        for _, place in KINDS[kind].headline.values():
            inner = found
            for key in place[:-1]:
                inner = inner.setdefault(key, {})
            inner[place[-1]] = estimate(value)
        return found

    interval = {"clustered_by": "patient_id"}
    return {"interval": interval, "subsets": {"val": subset(val), "test": subset(test)}}


def images_of(kind, quality, seed):
    """A table of single images of test; the higher the quality the better it tells truth."""
    generator = np.random.default_rng(seed)
    score = 1 / (1 + np.exp(-(quality * (TRUTH - 0.5) + generator.normal(0, 1, len(TRUTH)))))
    table = pd.DataFrame({"image_id": IDS, "patient": PATIENT, "cluster": PATIENT, "subset": "test"})
    if kind == "segment":
        return table.assign(dice=np.where(TRUTH, score, np.nan))
    if kind == "multilabel":
        for label in ("bleed", "oedema"):
            table[f"truth_{label}"] = pd.array(TRUTH, dtype="boolean")
            table[f"probability_{label}"] = score
            table[f"predicted_{label}"] = score >= 0.5
        table.loc[0, "truth_oedema"] = pd.NA
        return table
    if kind == "multiclass":
        names = np.array(["none", "bleed"])
        table = table.assign(truth=names[TRUTH.astype(int)], predicted=names[(score >= 0.5).astype(int)])
        return table.assign(
            probability=np.maximum(score, 1 - score), probability_none=1 - score, probability_bleed=score
        )
    if kind == "detect":
        return table.rename(columns={"image_id": "image"})
    return table.assign(truth=TRUTH, probability=score, predicted=score >= 0.5)


def detections_of(quality, seed):
    generator = np.random.default_rng(seed)
    shift = generator.normal(0, 8 / quality, len(IDS))
    table = pd.DataFrame({"image_id": IDS, "subset": "test", "label": "bleed", "x": 20 + shift, "y": 20.0})
    return table.assign(width=20.0, height=20.0, score=generator.uniform(0.1, 1, len(IDS)))


CURATED = Curated(
    images=pd.DataFrame({"image_id": IDS, "patient_id": PATIENT, "volume_id": None}).astype({"volume_id": "str"}),
    boxes=pd.DataFrame(
        {"image_id": np.array(IDS)[TRUTH], "label": "bleed", "x": 20.0, "y": 20.0, "width": 20.0, "height": 20.0}
    ),
    labels=validate(pd.DataFrame({"image_id": IDS, "bleed": TRUTH}), labels_schema(("bleed",)), "labels"),
)


def compared(kind, qualities=(1.0, 3.0, 6.0), values=(0.6, 0.8, 0.9), seeds=(0, 1, 2), patients_known=True, **more):
    """Two seeds of a network and their ensemble."""
    targets = {"multilabel": ("bleed", "oedema"), "multiclass": ("none", "bleed")}.get(kind, ("bleed",))
    runs = [
        run("net", 1, kind, targets),
        run("net", 2, kind, targets),
        run("ensemble_net", 0, kind, targets, **ENSEMBLE),
    ]
    files = [
        SeedFiles(
            one,
            metrics_with(kind, value, value - 0.1),
            images_of(kind, quality, seed),
            detections_of(quality, seed) if kind == "detect" else None,
        )
        for one, quality, value, seed in zip(runs, qualities, values, seeds, strict=True)
    ]
    options = CompareSeedsOptions(runs=runs, headline=HEADLINE, evaluate=EVALUATE, **more)
    curated = CURATED
    if not patients_known:
        curated = replace(CURATED, images=CURATED.images.assign(patient_id=None))
        for one in files:
            one.images["patient"] = None
            one.metrics["interval"]["clustered_by"] = "group"
    return compare_seeds(files, curated, options)


def test_repeats_of_one_seed_are_told_from_seeds():
    runs = [run("net", 1, "binary"), run("net", 2, "binary")]
    again = [one.model_copy(update={"model": "net_again", "repeat_of": "net"}) for one in runs[:1]]
    files = [
        SeedFiles(one, metrics_with("binary", value, value), images_of("binary", 3.0, 0))
        for one, value in zip([*runs, *again], (0.6, 0.8, 0.7), strict=True)
    ]
    options = CompareSeedsOptions(runs=[*runs, *again], headline=HEADLINE, evaluate=EVALUATE)
    compared = compare_seeds(files, CURATED, options)
    (found,) = compared["comparisons"]
    (spread,), (repeat,) = found["spreads"], found["repeats"]
    assert (spread["model"], spread["seeds"]) == ("net", [1, 2])
    assert (repeat["model"], repeat["seed"], repeat["runs"]) == ("net", 1, ["net", "net_again"])
    np.testing.assert_allclose([repeat["metrics"]["auroc"][name] for name in ("minimum", "maximum")], [0.6, 0.7])
    table = table_of([found])
    assert table.groupby("same_seed", dropna=False)["mean"].count().to_dict()[1] == len(KINDS["binary"].headline)
    lines = [line.name for line in describe_seeds(compared)[0].rows]
    assert "net, seed 1 trained 2 times" in lines


def test_spread_by_hand():
    spread = spread_of([0.7, 0.8, None, 0.9])
    assert spread["defined"] == 3
    assert (spread["minimum"], spread["maximum"]) == (0.7, 0.9)
    np.testing.assert_allclose([spread["mean"], spread["sd"]], [0.8, 0.1])
    assert spread_of([0.5])["sd"] is None
    assert spread_of([None, None]) == {"defined": 0, "mean": None, "sd": None, "minimum": None, "maximum": None}


@pytest.mark.parametrize("kind", COMPARED)
def test_an_ensemble_stands_beside_its_members_and_the_best_on_val(kind):
    (found,) = compared(kind)["comparisons"]
    (spread,) = found["spreads"]
    first = next(iter(COMPARED[kind]))
    np.testing.assert_allclose(spread["metrics"][first]["mean"], 0.6)
    np.testing.assert_allclose(spread["metrics"][first]["sd"], 0.1 * 2**0.5)
    (ensemble,) = found["ensembles"]
    assert ensemble["best_member"] == {"model": "net", "seed": 2}
    assert ensemble["metrics"][first]["value"] == pytest.approx(0.8)
    assert list(ensemble["differences"]) == list(COMPARED[kind])
    difference = ensemble["differences"][first]
    assert difference["value"] > 0
    assert difference["low"] <= difference["value"] <= difference["high"]


@pytest.mark.parametrize("kind", COMPARED)
def test_an_ensemble_that_says_what_its_best_member_says_differs_by_nothing(kind):
    (found,) = compared(kind, qualities=(1.0, 3.0, 3.0), seeds=(0, 1, 1))["comparisons"]
    for difference in found["ensembles"][0]["differences"].values():
        assert (difference["value"], difference["low"], difference["high"]) == (0, 0, 0)


def test_the_difference_of_mean_dice_by_hand():
    (found,) = compared("segment")["comparisons"]
    ensemble, best = (images_of("segment", quality, seed)["dice"].mean() for quality, seed in ((6.0, 2), (3.0, 1)))
    np.testing.assert_allclose(found["ensembles"][0]["differences"]["dice"]["value"], ensemble - best)


@pytest.mark.parametrize("kind", COMPARED)
def test_differences_draw_groups_where_no_patient_is_known(kind):
    by_patient = compared(kind)["comparisons"][0]["ensembles"][0]["differences"]
    (found,) = compared(kind, patients_known=False)["comparisons"]
    assert found["clustered_by"] == "group"
    assert found["ensembles"][0]["differences"] == by_patient


def test_where_no_member_has_a_value_on_val_there_is_no_best_one():
    runs = [run("net", 1, "binary"), run("net", 2, "binary"), run("ensemble_net", 0, "binary", **ENSEMBLE)]
    metrics = metrics_with("binary", None, 0.5)
    files = [SeedFiles(one, metrics, images_of("binary", 1, 0)) for one in runs]
    (found,) = compare_seeds(files, CURATED, CompareSeedsOptions(runs=runs, headline=HEADLINE))["comparisons"]
    ensemble = found["ensembles"][0]
    assert ensemble["best_member"] is None
    assert ensemble["differences"] == {}


def test_an_ensemble_tested_on_other_images_is_refused():
    runs = [run("net", 1, "binary"), run("net", 2, "binary"), run("ensemble_net", 0, "binary", **ENSEMBLE)]
    tables = [images_of("binary", 1, 0)] * 2 + [images_of("binary", 1, 0).iloc[1:]]
    metrics = metrics_with("binary", 0.5, 0.5)
    files = [SeedFiles(one, metrics, table) for one, table in zip(runs, tables, strict=True)]
    with pytest.raises(InputError, match="task, ensemble_net: found other images than net, seed 1"):
        compare_seeds(files, CURATED, CompareSeedsOptions(runs=runs, headline=HEADLINE))


def test_the_table_holds_a_row_for_each_metric_of_networks_and_ensembles():
    table = table_of(compared("binary")["comparisons"])
    assert table.columns.tolist() == list(COLUMNS)
    metrics = list(KINDS["binary"].headline)
    assert table["metric"].tolist() == metrics * 2
    assert table["model"].unique().tolist() == ["net", "ensemble_net"]
    seeds, ensemble = (part.set_index("metric") for _, part in table.groupby("model", sort=False))
    assert seeds["value"].isna().all()
    assert ensemble["mean"].isna().all()
    assert (ensemble["best_member"] == "net, seed 2").all()
    assert ensemble["difference"].notna().to_dict() == {name: name in COMPARED["binary"] for name in metrics}
    assert table_of([]).columns.tolist() == list(COLUMNS)


def test_the_report_shows_seeds_spread_ensemble_and_difference_in_this_order():
    (table,) = describe_seeds(compared("detect"))
    names = [row.name for row in table.rows]
    assert names == [
        "net, seed 1",
        "net, seed 2",
        "net, 2 seeds",
        "ensemble_net, ensemble of 2",
        "ensemble_net minus net, seed 2",
    ]
    assert table.heads == ("Run", *(title for title, _ in KINDS["detect"].headline.values()))
    spread = table.rows[2].cells[0]
    assert (spread.value, spread.range) == ("0.600 ± 0.141", "0.500 to 0.700")
    assert table.rows[4].cells[0].value.startswith("+")
    assert table.rows[4].cells[3] is None  # boxes found: not compared


def test_the_metric_that_chooses_comes_first_in_the_report():
    (table,) = describe_seeds(compared("detect", chosen_by={"detect": "ap_10"}))
    assert table.heads[:3] == ("Run", "AP at IoU 0.1", "AP at IoU 0.5")


def test_any_ap_that_the_study_names_chooses_the_best_member():
    headline = {"detect": {name: place for name, (_, place) in seed_columns_of("detect", "ap_75").items()}}
    runs = [run("net", 1, "detect"), run("net", 2, "detect"), run("ensemble_net", 0, "detect", **ENSEMBLE)]
    files = [
        SeedFiles(one, metrics_with("detect", value, value), images_of("detect", 1, 0), detections_of(3, seed))
        for one, value, seed in zip(runs, (0.6, 0.8, 0.9), (0, 1, 2), strict=True)
    ]
    for one, value in zip(files, (0.5, 0.2, 0.4), strict=True):
        for subset in one.metrics["subsets"].values():
            subset["metrics"]["ap_75"] = estimate(value)
    options = CompareSeedsOptions(runs=runs, headline=headline, chosen_by={"detect": "ap_75"}, evaluate=EVALUATE)
    (found,) = compare_seeds(files, CURATED, options)["comparisons"]
    (ensemble,) = found["ensembles"]
    assert (ensemble["chosen_by"], ensemble["best_member"]) == ("ap_75", {"model": "net", "seed": 1})
    assert ensemble["differences"]["ap_75"]["value"] is not None


def test_spreads_tell_volumes_where_runs_have_them():
    headline = {"detect": {name: place for name, (_, place) in seed_columns_of("detect").items()}}
    runs = [run("net", 1, "detect"), run("net", 2, "detect")]
    files = [SeedFiles(one, metrics_with("detect", 0.5, 0.5), images_of("detect", 1, 0)) for one in runs]
    options = CompareSeedsOptions(runs=runs, headline=headline, evaluate=EVALUATE)
    (table,) = describe_seeds(compare_seeds(files, CURATED, options))
    assert "AUROC of volumes" not in table.heads
    for one, value in zip(files, (0.7, 0.9), strict=True):
        level = {"metrics": {"auroc": estimate(value)}, "froc": {"volume_mean_sensitivity": estimate(value - 0.1)}}
        one.metrics["subsets"]["test"]["volume_level"] = {"any_class": level}
    found = compare_seeds(files, CURATED, options)
    (table,) = describe_seeds(found)
    shown = dict(zip(table.heads[1:], table.rows[2].cells, strict=True))
    assert shown["AUROC of volumes"].value == "0.800 ± 0.141"
    assert shown["Volumes in which a box is found, mean over 1/8 to 8"].value == "0.700 ± 0.141"


def side_by_side(kind="multiclass", external=True):
    """Two tasks of the same targets with one network, and another network of the first, on test and external."""
    targets = ("none", "bleed")
    runs = [run("net", 1, kind, targets), run("net", 1, kind, targets), run("other", 1, kind, targets)]
    runs[1] = runs[1].model_copy(update={"task": "task_augmented"})
    files = []
    for one, quality in zip(runs, (1.0, 4.0, 2.0), strict=True):
        metrics, images = metrics_with(kind, 0.5, 0.5), images_of(kind, quality, 0)
        if external:
            metrics["subsets"]["external"] = metrics["subsets"]["test"]
            images = pd.concat([images, images.assign(subset="external")], ignore_index=True)
        files.append(SeedFiles(one, metrics, images))
    options = CompareSeedsOptions(runs=runs, headline=HEADLINE, evaluate=EVALUATE)
    return files, compare_seeds(files, CURATED, options)


def test_tasks_and_networks_on_the_same_images_are_compared_in_pairs():
    files, found = side_by_side()
    assert found["comparisons"] == []
    pairs = [(*pair["first"].values(), *pair["second"].values(), pair["subset"]) for pair in found["pairs"]]
    assert pairs == [
        ("task", "net", "task_augmented", "net", "test"),
        ("task", "net", "task_augmented", "net", "external"),
        ("task", "net", "task", "other", "test"),
        ("task", "net", "task", "other", "external"),
    ]
    plain, augmented = ((one.images["truth"] == one.images["predicted"]).mean() for one in files[:2])
    difference = found["pairs"][0]["differences"]["accuracy"]
    np.testing.assert_allclose(difference["value"], augmented - plain)
    assert difference["low"] < difference["value"] < difference["high"]
    assert {pair["clustered_by"] for pair in found["pairs"]} == {"patient_id"}
    (table,) = describe_seeds(found)
    names = [row.name for row in table.rows]
    assert names[0] == "task_augmented minus task: net, seed 1, test"
    assert names[3] == "other minus net: task, seed 1, external set"
    assert table.heads == ("Difference", "Accuracy", "Macro F1", "AUROC")
    assert {pair["subset"] for pair in side_by_side(external=False)[1]["pairs"]} == {"test"}


def test_spreads_and_ensembles_stand_on_the_external_set_too():
    runs = [run("net", 1, "binary"), run("net", 2, "binary"), run("ensemble_net", 0, "binary", **ENSEMBLE)]
    files = []
    for one, value, seed in zip(runs, (0.6, 0.8, 0.9), (0, 1, 2), strict=True):
        metrics, images = metrics_with("binary", value, value), images_of("binary", 3.0, seed)
        metrics["subsets"]["external"] = metrics_with("binary", value, value - 0.3)["subsets"]["test"]
        images = pd.concat([images, images.iloc[:20].assign(subset="external")], ignore_index=True)
        files.append(SeedFiles(one, metrics, images))
    found = compare_seeds(files, CURATED, CompareSeedsOptions(runs=runs, headline=HEADLINE, evaluate=EVALUATE))
    (one,) = found["comparisons"]
    spreads = {spread["subset"]: spread["metrics"]["auroc"]["mean"] for spread in one["spreads"]}
    assert spreads == {"test": pytest.approx(0.7), "external": pytest.approx(0.4)}
    ensembles = {ensemble["subset"]: ensemble for ensemble in one["ensembles"]}
    assert all(ensembles[name]["differences"]["auroc"]["value"] is not None for name in ("test", "external"))
    assert table_of([one])["subset"].unique().tolist() == ["test", "external"]
    names = [row.name for row in describe_seeds(found)[0].rows]
    assert "net, 2 seeds" in names
    assert "net, 2 seeds, external set" in names
