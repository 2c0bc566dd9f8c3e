import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from segmentation_study import SIZE, TARGET, make_maps, make_segmentation_study

import evaluate_segmenter as script
from scanline.core.errors import InputError
from scanline.core.privacy import pseudonym
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.segmenter import (
    FIXED_LEVEL,
    MaskTruths,
    evaluate_segmenter,
    fit_on_val,
    read_mask_threshold,
    read_truths,
)
from scanline.evaluate.segmenter_options import EvaluateSegmenterOptions, MaskScoring
from scanline.predict.probability_maps import ProbabilityMaps, write_maps

OPTIONS = EvaluateSegmenterOptions(
    target=TARGET,
    evaluate=EvaluateOptions(bootstrap_resamples=100),
    masks=MaskScoring(min_predicted_pixels=3),
    patient_salt="salt",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_segmentation_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def maps(study, tmp_path_factory):
    files = make_maps(study, tmp_path_factory.mktemp("maps"))
    return ProbabilityMaps(files["maps"], files["table"])


@pytest.fixture(scope="module")
def truths(study):
    return read_truths(study["masks"], study["index"])


def evaluate(study, maps, truths, options=OPTIONS, threshold=None):
    threshold = threshold or fit_on_val(maps.table, maps, truths, options, "maps")
    images, labels = pd.read_parquet(study["images"]), pd.read_parquet(study["labels"])
    return evaluate_segmenter(maps.table, maps, truths, images, labels, options, threshold, "maps")


class Changed:
    """Maps of which some are replaced."""

    def __init__(self, maps, subset, change):
        self.maps, self.table, self.change = maps, maps.table, change
        self.ids = set(maps.table.loc[maps.table["subset"] == subset, "image_id"])

    def __getitem__(self, image_id):
        return self.change(self.maps[image_id]) if image_id in self.ids else self.maps[image_id]


def test_the_threshold_has_the_best_dice_of_all_val_pixels(maps, truths):
    point = fit_on_val(maps.table, maps, truths, OPTIONS, "maps")
    ids = [name for name in maps.table.loc[maps.table["subset"] == "val", "image_id"] if truths[name] is not None]
    truth, values = np.stack([truths[name] for name in ids]), np.stack([maps[name] for name in ids])
    dice = {}
    for level in range(1, 256):
        predicted = values >= level
        dice[level] = 2 * (predicted & (truth == 1)).sum() / (predicted.sum() + truth.sum())
    best = max(dice, key=dice.get)
    assert (point.level, point.threshold) == (best, best / 255)
    assert point.criterion == pytest.approx(dice[best], abs=1e-12)
    assert (point.rule, point.subset, point.images, point.positives) == ("dice", "val", 7, 4)
    assert point.criterion > 0.5


def test_test_data_cannot_change_the_threshold(study, maps, truths):
    point = fit_on_val(maps.table, maps, truths, OPTIONS, "maps")
    others = Changed(maps, "test", lambda one: 255 - one)
    assert fit_on_val(maps.table, others, truths, OPTIONS, "maps") == point
    masks = truths.masks.copy()
    masks[32:] = 1 - np.minimum(masks[32:], 1)
    assert fit_on_val(maps.table, maps, MaskTruths(masks, truths.rows), OPTIONS, "maps") == point
    without_test = maps.table[maps.table["subset"] == "val"]
    assert fit_on_val(without_test, maps, truths, OPTIONS, "maps") == point
    first, second = evaluate(study, maps, truths).metrics, evaluate(study, others, truths).metrics
    assert first["threshold"] == second["threshold"]
    assert first["subsets"]["val"] == second["subsets"]["val"]
    assert first["subsets"]["test"]["pooled"] != second["subsets"]["test"]["pooled"]


def test_a_threshold_fitted_on_other_maps_is_refused(study, maps, truths):
    point = fit_on_val(maps.table, maps, truths, OPTIONS, "maps")
    changed = Changed(maps, "val", lambda one: np.where(one > 150, one - 1, one).astype(np.uint8))
    with pytest.raises(InputError, match=r"maps_sha256: found .* fitted on 7 images of val"):
        evaluate(study, changed, truths, threshold=point)
    masks = truths.masks.copy()
    masks[24, 0, 0] ^= 1
    with pytest.raises(InputError, match="maps_sha256"):
        evaluate(study, maps, MaskTruths(masks, truths.rows), threshold=point)


def test_a_fixed_threshold_is_a_half_and_fitted_on_nothing(study, maps, truths):
    options = OPTIONS.model_copy(update={"masks": MaskScoring(threshold="fixed")})
    point = fit_on_val(maps.table, maps, truths, options, "maps")
    assert (point.level, point.maps_sha256) == (FIXED_LEVEL, None)
    assert point.predict(np.array([127, 128], np.uint8)).tolist() == [False, True]
    assert evaluate(study, maps, truths, options).metrics["threshold_from"] == "configuration"


def test_unknown_masks_are_counted_and_enter_no_metric(study, maps, truths):
    result = evaluate(study, maps, truths)
    test = result.metrics["subsets"]["test"]
    assert test["images"] == {"total": 8, "lesion_positive": 3, "empty_true": 4, "unknown": 1}
    assert test["volumes"] == {"total": 2, "lesion_positive": 1, "empty_true": 0, "unknown": 1}
    assert sum(test["pixel_confusion"].values()) == 7 * SIZE**2
    unknown = result.per_image[result.per_image["kind"] == "unknown"]
    assert unknown["image_id"].tolist() == ["s/p07_0", "s/p09_1"]
    assert unknown[["truth", "outcome", "dice", "tp"]].isna().all().all()
    altered = Changed(maps, "test", lambda one: one)
    altered.ids, altered.change = {"s/p09_1"}, lambda one: 255 - one
    other = evaluate(study, altered, truths).metrics["subsets"]["test"]
    assert other == test


def test_image_level_answers_come_from_predicted_masks(study, maps, truths):
    result = evaluate(study, maps, truths)
    rows = result.per_image.set_index("image_id")
    level = fit_on_val(maps.table, maps, truths, OPTIONS, "maps").level
    for image_id in rows.index:
        count = int((maps[image_id] >= level).sum())
        assert rows.loc[image_id, "predicted_pixels"] == count
        assert rows.loc[image_id, "predicted"] == (count >= 3)
        assert rows.loc[image_id, "probability"] == maps[image_id].max() / 255
    assert rows.loc["s/p08_1", "outcome"] == "FN"
    assert rows.loc["s/p09_3", "outcome"] == "FP"
    counts = result.metrics["subsets"]["test"]["image_level"]
    outcomes = rows.loc[rows["subset"] == "test", "outcome"].value_counts()
    assert {name: counts[name] for name in ("tp", "fp", "fn", "tn")} == {
        name: int(outcomes.get(name.upper(), 0)) for name in ("tp", "fp", "fn", "tn")
    }
    truth = rows["truth"].dropna().astype(bool)
    assert truth.equals(pd.Series({name: bool(truths[name].any()) for name in truth.index}, name="truth"))


def test_more_pixels_asked_for_means_fewer_images_called_positive(study, maps, truths):
    many = OPTIONS.model_copy(update={"masks": MaskScoring(min_predicted_pixels=SIZE**2)})
    counts = evaluate(study, maps, truths, many).metrics["subsets"]["test"]["image_level"]
    assert (counts["tp"], counts["fp"], counts["fn"], counts["tn"]) == (0, 0, 3, 4)


def test_no_patient_or_volume_id_leaves_the_tables(study, maps, truths):
    per_image = evaluate(study, maps, truths).per_image
    assert set(per_image["patient"]) == {pseudonym(f"p{number}", "salt") for number in range(6, 10)}
    assert set(per_image["volume"]) == {pseudonym(f"v{number}", "salt") for number in range(6, 10)}
    assert not {"patient_id", "volume_id"} & set(per_image)


def test_volumes_stack_their_slices_in_order_whatever_the_order_of_rows(study, maps, truths):
    first = evaluate(study, maps, truths)
    shuffled = Changed(maps, "none", lambda one: one)
    shuffled.table = maps.table.sample(frac=1, random_state=0)
    second = evaluate(study, shuffled, truths)
    assert first.metrics == second.metrics
    pd.testing.assert_frame_equal(first.per_image, second.per_image)
    assert first.metrics["subsets"]["val"]["per_volume"]["volumes"] == 1


def test_lesions_lost_by_resizing_are_counted(study, maps, truths):
    masks = truths.masks.copy()
    row = truths.rows["s/p08_2"]
    masks[row] = 0
    metrics = evaluate(study, maps, MaskTruths(masks, truths.rows)).metrics
    assert metrics["subsets"]["test"]["lesions_lost_by_resizing"] == 1
    assert metrics["subsets"]["val"]["lesions_lost_by_resizing"] == 0


def run_script(study, folder, monkeypatch, maps_folder):
    outputs = {"metrics": "metrics.json", "operating_point": "operating_point.json"}
    outputs |= {"per_image": "per_image.parquet", "per_image_csv": "per_image.csv"}
    files = {name: study[name] for name in ("masks", "index", "images", "labels")} | make_maps(study, maps_folder)
    files |= {name: folder / file for name, file in outputs.items()}
    words = [word for name, path in files.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    monkeypatch.setattr(sys, "argv", ["evaluate_segmenter.py", "--options", OPTIONS.model_dump_json(), *words])
    script.main()
    return {name: files[name] for name in outputs}


def test_the_script_writes_metrics_that_say_where_and_how(study, tmp_path, monkeypatch):
    files = run_script(study, tmp_path, monkeypatch, tmp_path)
    metrics = json.loads(files["metrics"].read_text())
    assert (metrics["measured_at_px"], metrics["min_predicted_pixels"], metrics["threshold_from"]) == (SIZE, 3, "val")
    assert metrics["operating_point_sha256"] == read_mask_threshold(files["operating_point"]).sha256()
    assert metrics["interval"]["clustered_by"] == "patient_id"
    assert set(metrics["subsets"]) == {"val", "test"}
    dice = metrics["subsets"]["test"]["pooled"]["metrics"]["dice"]
    assert 0 < dice["low"] <= dice["value"] <= dice["high"] < 1
    table, csv = pd.read_parquet(files["per_image"]), pd.read_csv(files["per_image_csv"])
    assert len(table) == len(csv) == 16
    assert table["outcome"].isna().sum() == csv["outcome"].isna().sum() == 2
    again = run_script(study, tmp_path / "again", monkeypatch, tmp_path)
    assert all(again[name].read_bytes() == files[name].read_bytes() for name in files)


def test_val_without_lesion_is_one_line(maps, truths):
    masks = np.minimum(truths.masks, 0)
    with pytest.raises(InputError, match="subset val: found 8 images of known mask and no lesion pixel"):
        fit_on_val(maps.table, maps, MaskTruths(masks, truths.rows), OPTIONS, "maps")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: pd.concat([table, table[:1]]), "each image once"),
        (lambda table: table.assign(image_id=table["image_id"] + "x"), "an image of the images table"),
        (lambda table: table[table["subset"] == "val"], "subset test: found no images"),
        (lambda table: table.assign(subset="train"), "a subset of val, test, external"),
        (lambda table: table.drop(columns="subset"), "subset as well"),
    ],
)
def test_tables_that_make_no_sense_are_one_line(study, maps, truths, change, message):
    changed = Changed(maps, "none", lambda one: one)
    point = fit_on_val(maps.table, maps, truths, OPTIONS, "maps")
    changed.table = change(maps.table)
    with pytest.raises(InputError, match=message):
        evaluate(study, changed, truths, threshold=point)


def test_a_map_of_another_size_is_one_line(maps, truths):
    small = Changed(maps, "val", lambda one: one[:8, :8])
    with pytest.raises(InputError, match=r"map of image .* uint8 of shape \(8, 8\)"):
        fit_on_val(maps.table, small, truths, OPTIONS, "maps")


def test_maps_are_read_one_by_one_and_equal_maps_give_equal_bytes(tmp_path):
    stack = np.random.default_rng(0).integers(0, 256, (3, 9, 9), dtype=np.uint8)
    assert write_maps(tmp_path / "a.npz", iter(stack)) == 3
    write_maps(tmp_path / "b.npz", stack)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    table = pd.DataFrame({"image_id": ["x", "y", "z"], "subset": "val", "row": [2, 0, 1]})
    table.to_parquet(tmp_path / "table.parquet")
    maps = ProbabilityMaps(tmp_path / "a.npz", tmp_path / "table.parquet")
    assert np.array_equal(maps["x"], stack[2])
    with pytest.raises(InputError, match="no intact map of image 'w'"):
        maps["w"]
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="an archive of maps"):
        ProbabilityMaps(tmp_path / "a.npz", tmp_path / "table.parquet")


def test_a_record_with_other_keys_is_one_line(maps, truths, tmp_path):
    record = dataclasses.asdict(fit_on_val(maps.table, maps, truths, OPTIONS, "maps")) | {"more": 1}
    (tmp_path / "operating_point.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="a threshold with the keys"):
        read_mask_threshold(tmp_path / "operating_point.json")


def test_what_comes_before_and_after_the_network_needs_no_torch():
    names = "cache_masks, evaluate_segmenter, plot_segmenter"
    check = f"import sys; import {names}; sys.exit(bool({{'torch', 'segmentation_models_pytorch'}} & set(sys.modules)))"
    scripts = Path(script.__file__).parent
    assert subprocess.run([sys.executable, "-c", check], cwd=scripts, check=False).returncode == 0


def test_subgroups_pool_the_pixels_of_their_own_images(study, maps, truths):
    images = pd.read_parquet(study["images"])
    images["sex"] = np.where(images["slice_index"] % 2, "F", "M")
    labels = pd.read_parquet(study["labels"])
    point = fit_on_val(maps.table, maps, truths, OPTIONS, "maps")
    result = evaluate_segmenter(maps.table, maps, truths, images, labels, OPTIONS, point, "maps")
    columns = {column["by"]: column["groups"] for column in result.metrics["subgroups"]["test"]}
    table = result.per_image[(result.per_image["subset"] == "test") & (result.per_image["kind"] != "unknown")]
    assert [group["name"] for group in columns["sex"]] == ["F", "M"]
    for group in columns["sex"]:
        own = table[table["image_id"].isin(images.loc[images["sex"] == group["name"], "image_id"])]
        tp, fp, fn = (int(own[name].sum()) for name in ("tp", "fp", "fn"))
        assert group["images"] == len(own)
        assert group["positives"] == (own["kind"] == "lesion_positive").sum()
        assert group["metrics"]["pooled_dice"]["value"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert group["metrics"]["dice"]["value"] == pytest.approx(
            own.loc[own["kind"] == "lesion_positive", "dice"].mean()
        )
        assert group["metrics"]["image_accuracy"]["value"] == pytest.approx((own["truth"] == own["predicted"]).mean())
    sizes = columns["lesion_size"]
    assert sizes[0]["name"] == "no lesion"
    assert sum(group["images"] for group in sizes) == len(table)
    assert result.metrics["gap"] is None


def test_the_gap_of_masks_is_test_minus_external(study, maps, truths):
    class Moved:
        """The maps, with the last patient of test called external."""

        table = maps.table.assign(
            subset=[
                "external" if name.startswith("s/p09") else subset
                for name, subset in zip(maps.table["image_id"], maps.table["subset"], strict=True)
            ]
        )

        def __getitem__(self, image_id):
            return maps[image_id]

    metrics = evaluate(study, Moved(), truths).metrics
    both = [metrics["subsets"][name]["pooled"]["metrics"]["dice"]["value"] for name in ("test", "external")]
    assert metrics["gap"]["pooled_dice"]["value"] == pytest.approx(both[0] - both[1])
    assert set(metrics["subgroups"]) == {"test", "external"}
