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
from scanline.evaluate.metadata import subgroups_of
from scanline.evaluate.none_of_labels import evaluate_none_of_labels
from scanline.evaluate.options import EvaluateOptions
from scanline.figures.label_analysis import LabelFigureOptions, plot_label_analysis
from scanline.figures.options import LABEL_FIGURES
from scanline.report.label_analysis import describe_label_analysis
from scanline.split.label_leaks import ALL, count_label_leaks
from scanline.split.label_weights import weigh_labels
from scanline.train.label_weights import weigh_images


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
    # both findings: the rarer b, 3 / (2 * 1); a alone: 4 / (2 * 2); none: 3 / (2 * 1), as of one of the four that is
    # not known; not known: 1
    assert list(weights["weight"]) == pytest.approx(np.array([1.5, 1, 1.5, 1]) / 1.25)
    assert list(weights["rarest"].fillna("-")) == ["b", "a", "-", "-"]
    assert weights["weight"].mean() == pytest.approx(1)


def test_images_of_which_something_is_unknown_do_not_thin_out_those_without_findings():
    shown = [[True, False], [False, True], [False, False], *[[False, None]] * 5, *[[None, None]] * 4]
    _, labels, split = tables(shown, ["p"] * 12, ["train"] * 12)
    weights = weigh_labels(labels, split)[1]["weight"]
    unscaled = [8 / 2, 3 / 2, 3 / 2, *[1] * 9]  # a is known of 8 images, b and "none" of 3
    assert list(weights) == pytest.approx(np.array(unscaled) / np.mean(unscaled))


def test_classes_that_a_task_does_not_predict_have_no_part_in_its_weights(tmp_path):
    shown = [[True, True], [True, False], [False, True], [False, False], [False, False], [False, False]]
    _, labels, split = tables(shown, ["p"] * 6, ["train"] * 6)
    labels.to_parquet(tmp_path / "labels.parquet")
    split.to_parquet(tmp_path / "split.parquet")
    ids = labels["image_id"].to_numpy(dtype=object)[::-1]
    files = tmp_path / "labels.parquet", tmp_path / "split.parquet"
    one = weigh_images(*files, ["a"], ids).numpy()[::-1]
    assert one == pytest.approx(np.array([3, 3, 1.5, 1.5, 1.5, 1.5]) / 2)
    both = weigh_images(*files, ["a", "b"], ids).numpy()[::-1]
    assert both == pytest.approx(weigh_labels(labels, split)[1]["weight"])


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


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """The authors' two files as pandas reads them, with the images' ids."""
    folder = real_tables(tmp_path_factory.mktemp("raw") / "raw")
    table = pd.read_csv(folder / "Data_Entry_2017_v2020.csv.gz")
    boxes = pd.read_csv(folder / "BBox_List_2017.csv.gz").iloc[:, :6]
    for one in (table, boxes):
        one.index = pd.Index("nih/" + one["Image Index"].str.removesuffix(".png"), name="image_id")
    return table.sort_index(), boxes


@pytest.fixture(scope="module")
def real_split(real):
    """The authors' test; of their train_val each eighth patient is val."""
    images = real[0].images
    number = images["patient_id"].rank(method="dense").astype(int)
    subset = images["official_subset"].where(images["official_subset"] == "test", "train")
    subset = subset.mask((subset == "train") & (number % 8 == 0), "val")
    return pd.DataFrame({"image_id": images["image_id"], "subset": subset, "dropped_by": None})


def test_weights_of_the_real_table_are_those_of_its_train_rows(real, raw, real_split):
    record, weights = weigh_labels(real[0].labels, real_split)
    train = raw[0].loc[sorted(real_split.loc[real_split["subset"] == "train", "image_id"])]
    assert 74_000 < len(train) == record["images"] == len(weights) < 77_500
    findings = train["Finding Labels"].str.lower().str.split("|")
    count = findings.explode().value_counts()
    wanted = {name: len(train) / (14 * count[name]) for name in LABELS}
    assert {name: facts["weight"] for name, facts in record["classes"].items()} == pytest.approx(wanted)
    ratios = {name: (len(train) - count[name]) / count[name] for name in LABELS}
    assert {name: facts["positive_weight"] for name, facts in record["classes"].items()} == pytest.approx(ratios)
    wanted["no finding"] = len(train) / (14 * count["no finding"])
    drawn = findings.map(lambda names: max(wanted[name] for name in names))
    assert weights["image_id"].tolist() == train.index.tolist()
    assert weights["weight"].to_numpy() == pytest.approx((drawn / drawn.mean()).to_numpy())
    rarest = findings.map(lambda names: min(names, key=lambda name: count[name]))
    assert weights["rarest"].fillna("no finding").tolist() == rarest.tolist()
    share = weights["weight"].to_numpy() @ (findings.map(len).to_numpy() > 1) / len(train)
    assert share > (findings.map(len) > 1).mean()  # several findings, at least one of them rarer than the mean


def test_subgroups_of_the_real_table_are_those_of_its_columns(real, raw):
    images, ids = real[0].images, real[0].images["image_id"]
    found = subgroups_of(ids, images, ("sex", "view", "age_years"), (18, 40, 65), np.full(len(ids), np.nan))
    rows = raw[0].loc[ids]
    for column, name in (("sex", "Patient Gender"), ("view", "View Position")):
        together = pd.crosstab(found[column].to_numpy(), rows[name].to_numpy())
        assert (together.to_numpy() > 0).sum() == together.shape[0] == together.shape[1] == 2
        assert int(together.to_numpy().sum()) == 112_120
    assert sorted(found["sex"].value_counts()) == sorted(rows["Patient Gender"].value_counts())
    assert found["view"].tolist() == rows["View Position"].tolist()
    bands = pd.cut(rows["Patient Age"], [-1, 17, 39, 64, 200], labels=False).value_counts().sort_index()
    assert found["age_years"].value_counts(sort=False).sort_index().tolist() == bands.tolist()
    assert found["age_years"].value_counts().sum() == 112_120


def test_no_finding_of_the_real_table_is_none_of_the_fourteen(real, raw):
    labels, patients = real[0].labels, real[0].images["patient_id"]
    truth = labels[list(LABELS)].to_numpy(dtype=float)
    named = raw[0].loc[labels["image_id"], "Finding Labels"] == "No Finding"
    assert np.array_equal(~(truth == 1).any(axis=1), named)
    probability = np.where(truth == 1, 0.6, 0.2)
    probability[:, LABELS.index("hernia")] += 0.2  # 0.8 where there is one, else 0.4
    part = np.arange(len(truth)) % 10 == 0
    for threshold, recall in ((0.5, 1.0), (0.3, 0.0)):
        result = evaluate_none_of_labels(
            truth[part],
            probability[part],
            {name: threshold if name == "hernia" else 0.5 for name in LABELS},
            patients=patients[part],
            options=EvaluateOptions(bootstrap_resamples=100),
        )
        assert result["positives"] == int(named[part].sum())
        assert result["metrics"]["recall"]["value"] == recall
        assert result["metrics"]["specificity"]["value"] == 1


def test_the_real_boxes_are_of_findings_that_their_images_show(real, raw):
    boxes, labels = real[0].boxes, real[0].labels.set_index("image_id")
    given = raw[1]
    names = given["Finding Label"].str.lower().replace("infiltrate", "infiltration")
    assert len(boxes) == len(given) == 984
    assert boxes["image_id"].nunique() == given.index.nunique() == 880
    assert boxes["label"].value_counts().to_dict() == names.value_counts().to_dict()
    assert boxes["label"].nunique() == 8
    assert all(labels.loc[box.image_id, box.label] for box in boxes.itertuples())
    numbers = given.iloc[:, 2:6].to_numpy(dtype=float)
    wanted = sorted(zip(given.index, names, *numbers.T.round(6), strict=True))
    columns = (boxes[name].astype(float).round(6) for name in ("x", "y", "width", "height"))
    assert sorted(zip(boxes["image_id"], boxes["label"], *columns, strict=True)) == wanted
