import json

import numpy as np
import pandas as pd
import pytest
from chestxray14_files import LABELS, curated, real_tables
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.core.errors import InputError
from scanline.core.tables import IMAGES, make_table, validate
from scanline.curate.label_statistics import class_weights, describe_labels, gini
from scanline.figures.label_analysis import LabelFigureOptions, plot_label_analysis
from scanline.figures.options import LABEL_FIGURES
from scanline.report.label_analysis import describe_label_analysis
from scanline.split.label_leaks import ALL, count_label_leaks
from scanline.split.label_weights import weigh_labels


def tables(shown, patients, subsets, **columns):
    """Images, labels of classes a, b, ... and a split, from rows of true, false or None."""
    ids = [f"s/{number:04d}" for number in range(len(patients))]
    images = pd.DataFrame({"image_id": ids, "patient_id": patients, **columns})
    values = pd.DataFrame(shown, columns=list("abcdefg"[: len(shown[0])]), dtype="boolean")
    labels = pd.concat([images[["image_id"]], values], axis=1)
    split = pd.DataFrame({"image_id": ids, "group_id": ids, "subset": subsets, "dropped_by": None, "reason": None})
    return images, labels, split


@pytest.fixture
def small():
    shown = [[True, True], [True, False], [False, False], [False, None], [True, False], [False, True]]
    subsets = ["train", "train", "train", "train", "test", "test"]
    return tables(shown, ["p", "p", "q", None, "p", "r"], subsets, view=["AP", "PA", "PA", None, "AP", "PA"])


def test_counts_of_a_small_study(small):
    images, labels, _ = small
    found = describe_labels(images, labels)
    names = ("images", "outputs", "images_with_unknown", "without_finding", "with_one_finding", "with_several_findings")
    assert [found[name] for name in names] == [6, 2, 1, 1, 3, 1]
    assert found["findings_per_image"] == pytest.approx(1.0)
    assert (found["most"], found["least"], found["imbalance"]) == ("a", "b", 1.5)
    assert found["labels"]["b"]["known"] == 5
    assert found["labels"]["b"]["class_weight"] == pytest.approx(5 / (2 * 2))
    assert found["labels"]["a"]["by_view"] == {"AP": 2, "PA": 1}
    assert found["view"] == {"AP": 2, "PA": 3, "unknown": 1}
    assert found["age"] == {}
    assert found["sex"] == {}
    assert found["co_occurrence"]["counts"] == [[3, 1], [1, 2]]
    # of the 5 images on which both are known, 3 show a, 2 show b and 1 shows both
    assert found["co_occurrence"]["lift"] == [[None, pytest.approx(5 / 6)], [pytest.approx(5 / 6), None]]
    assert found["images_per_patient"] == {"1": 2, "3": 1}
    json.dumps(found, allow_nan=False)


def test_leaks_by_label_of_a_small_split(small):
    found = count_label_leaks(*small)
    assert found[ALL] == {"test_images": 2, "shared": 1, "share": 0.5, "same_label": 1, "same_label_share": 0.5}
    assert found["a"]["same_label_share"] == 1.0
    assert found["b"] == {"test_images": 1, "shared": 0, "share": 0.0, "same_label": 0, "same_label_share": 0.0}


def test_images_without_a_patient_share_none():
    found = count_label_leaks(*tables([[True]] * 2, [None, None], ["train", "test"]))
    assert found[ALL]["shared"] == found["a"]["same_label"] == 0


def test_volumes_stand_for_unknown_patients():
    images, labels, split = tables([[True]] * 4, [None, None, "v", None], ["train", "test", "train", "test"])
    found = count_label_leaks(images.assign(volume_id=["v", "v", "w", None]), labels, split)
    assert (found[ALL]["test_images"], found[ALL]["shared"]) == (2, 1)
    assert count_label_leaks(images.assign(volume_id=["x", "v", "w", None]), labels, split)[ALL]["shared"] == 0


def test_images_that_balancing_dropped_leak_nothing(small):
    images, labels, split = small
    dropped = split.assign(dropped_by=["undersample"] * 2 + [None] * 4)
    assert count_label_leaks(images, labels, dropped)[ALL]["shared"] == 0


def test_weights_come_from_training_images_and_the_rarest_finding(small):
    _, labels, split = small
    record, weights = weigh_labels(labels, split)
    assert record["images"] == 4
    assert record["classes"]["a"] == {"positive": 2, "known": 4, "weight": 1.0, "positive_weight": 1.0}
    assert record["classes"]["b"] == {"positive": 1, "known": 3, "weight": 1.5, "positive_weight": 2.0}
    # both findings: the rarer b, 3 / (2 * 1); a alone: 4 / (2 * 2); none: 4 / (2 * 2)
    assert list(weights["weight"]) == pytest.approx(np.array([1.5, 1, 1, 1]) / 1.125)
    assert list(weights["rarest"].fillna("-")) == ["b", "a", "-", "-"]
    assert weights["weight"].mean() == pytest.approx(1)


def test_what_balancing_repeats_counts_as_often_and_has_one_row(small):
    _, labels, split = small
    repeated = split.assign(copies=[3, None, None, None, None, None])
    record, weights = weigh_labels(labels, repeated)
    assert record["images"] == 6
    assert record["classes"]["a"]["positive"] == 4
    assert list(weights["image_id"]) == [f"s/{number:04d}" for number in range(4)]
    drawn = weights["weight"] * [3, 1, 1, 1]
    assert drawn.sum() == pytest.approx(6)


def test_a_split_without_findings_in_train_has_no_weights(small):
    _, labels, split = small
    with pytest.raises(InputError, match="none that shows a class"):
        weigh_labels(labels, split.assign(subset="test"))


def test_tables_of_other_images_are_refused(small):
    images, labels, _ = small
    with pytest.raises(InputError, match="5 of 6 images in common"):
        describe_labels(images, labels.iloc[1:])


counts = st.lists(st.integers(0, 10**6), min_size=1, max_size=20).map(lambda values: np.array(values))


@given(counts)
def test_gini_is_the_mean_difference(values):
    found = gini(values)
    if values.sum() == 0:
        assert found is None
        return
    differences = np.abs(values[:, None] - values[None, :]).sum()
    assert found == pytest.approx(differences / (2 * len(values) * values.sum()), abs=1e-12)
    assert -1e-12 <= found <= 1 - 1 / len(values) + 1e-12


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_the_order_of_rows_changes_nothing(data):
    n = data.draw(st.integers(3, 12))
    shown = data.draw(
        st.lists(st.lists(st.sampled_from([True, False, None]), min_size=2, max_size=2), min_size=n, max_size=n)
    )
    patients = data.draw(st.lists(st.sampled_from(["p", "q", "r"]), min_size=n, max_size=n))
    images, labels, _ = tables(shown, patients, ["train"] * n)
    order = data.draw(st.permutations(range(n)))
    mixed = describe_labels(images.iloc[list(order)], labels.iloc[list(reversed(order))])
    assert mixed == describe_labels(images, labels)


def test_a_class_on_no_image_has_no_weight():
    assert class_weights(np.array([0, 4]), np.array([8, 8])) == [None, 1.0]


def test_figures_and_report_of_a_small_study(small, tmp_path):
    images, labels, split = small
    statistics = describe_labels(images, labels)
    leaks = {"naive_image": count_label_leaks(images, labels, split)}
    paths = [tmp_path / f"{name}.png" for name in LABEL_FIGURES]
    plot_label_analysis(statistics, leaks, LabelFigureOptions(phantom=True, resolution_dpi=50), paths)
    section = describe_label_analysis(statistics, leaks, paths, {"label_file_of_2020": 1, "age_impossible": 16})
    assert section["label_files"] == ["label file of 2020"]
    assert section["ages_unknown"] == "16"
    assert dict(section["facts"])["With several findings"] == "1 (20.0%)"
    assert section["rows"][0]["leaks"] == [{"share": "100.0%", "detail": "of 1; 100.0% with the finding"}]
    assert len(section["pictures"]) == len(LABEL_FIGURES)


def test_images_of_tables_alone_fit_the_schema_and_files_stand_once():
    row = {"image_id": "s/1", "source": "s", "view": "PA", "follow_up": 0, "official_subset": "test"}
    table = make_table([row, {**row, "image_id": "s/2"}], IMAGES)
    assert table["path"].isna().all()
    with pytest.raises(InputError, match="each file, or frame of a file, once"):
        validate(table.assign(path="data/x.png"), IMAGES, "images")
    with pytest.raises(InputError, match="official_subset"):
        validate(table.assign(official_subset="holdout"), IMAGES, "images")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = real_tables(tmp_path_factory.mktemp("chestxray14") / "raw")
    return curated(folder, release="2020")


def test_the_real_table_has_the_published_numbers(real):
    made, flow = real
    found = describe_labels(made.images, made.labels)
    assert (found["images"], found["patients"], found["outputs"]) == (112_120, 30_805, 14)
    assert (found["without_finding"], found["with_one_finding"], found["with_several_findings"]) == (
        60_361,
        30_963,
        20_796,
    )
    shares = [found[name] / 112_120 for name in ("without_finding", "with_one_finding", "with_several_findings")]
    assert np.round(shares, 3).tolist() == [0.538, 0.276, 0.185]
    assert round(found["findings_per_image"], 2) == 0.72
    assert (round(found["imbalance"], 1), round(found["gini"], 4)) == (87.6, 0.4652)
    counts = {name: facts["positive"] for name, facts in found["labels"].items()}
    assert (found["most"], counts["infiltration"], found["least"], counts["hernia"]) == (
        "infiltration",
        19_894,
        "hernia",
        227,
    )
    weights = [round(found["labels"][name]["class_weight"], 3) for name in ("infiltration", "effusion", "atelectasis")]
    assert weights == [0.403, 0.601, 0.693]
    assert flow["noted_by_reason"] == {"box_list": 1, "label_file_of_2020": 1, "official_list": 2}
    assert (flow["boxes"], flow["images_without_file"], flow["files"], flow["other"]) == (984, 112_120, 4, 3)
    assert set(flow["labels"]) == set(LABELS)


def test_the_real_lists_share_no_patient(real):
    images = real[0].images
    official = images.groupby("official_subset")
    assert official.size().to_dict() == {"test": 25_596, "train_val": 86_524}
    assert official["patient_id"].nunique().to_dict() == {"test": 2_797, "train_val": 28_008}
    both = official["patient_id"].unique()
    assert not set(both["test"]) & set(both["train_val"])


def test_shuffled_images_share_patients_in_four_of_five_test_images(real):
    made, _ = real
    subsets = np.repeat(["train", "val", "test"], [78_484, 16_818, 16_818])
    split = pd.DataFrame({"image_id": made.images["image_id"], "dropped_by": None})
    for seed in range(2):
        found = count_label_leaks(
            made.images, made.labels, split.assign(subset=np.random.default_rng(seed).permutation(subsets))
        )
        assert 0.81 <= found[ALL]["share"] <= 0.82
        assert all(found[name]["share"] >= found[name]["same_label_share"] > 0.2 for name in LABELS)
