"""A detection set: the images that training takes, the gate, the exports as other tools read them, the numbers."""

import contextlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from augmented_study import CLASSES, make_study
from pycocotools.coco import COCO

from scanline.core.errors import InputError
from scanline.prepare.augmented_set import augment_set, link_set
from scanline.prepare.coco_export import coco_document, find_faults
from scanline.prepare.detection_set import name_files, select_set
from scanline.prepare.detection_set_options import ExpectedNegatives
from scanline.prepare.offline_augmentation import augment_shard, originals_of_shard
from scanline.prepare.options import OfflineAugmentation
from scanline.prepare.pixels import cache_pixels
from scanline.prepare.set_evidence import EvidenceOptions, verify_detection_set
from scanline.prepare.set_export import ExportOptions, export_set
from scanline.prepare.set_statistics import cover, describe_set, describe_sizes
from scanline.train.detection import load_detection_samples
from scanline.train.ultralytics_detector import import_ultralytics


def select(tables, targets=CLASSES, **options):
    return select_set(tables.images, tables.boxes, tables.labels, tables.split, targets, **options)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def augmented(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    tables = study.tables
    originals = originals_of_shard(tables.images, tables.boxes, tables.split, 0, 1)
    images, boxes = augment_shard(originals, OfflineAugmentation(factor=3), folder / "files", 1)
    return link_set(augment_set(tables, [images], [boxes]), folder / "train", "hard_link")


@pytest.fixture(scope="module")
def whole(augmented):
    return select(augmented)


@pytest.mark.parametrize(("targets", "excluded"), [(CLASSES, ()), (("clot",), ()), (("clot",), ("bleed",))])
def test_the_set_is_what_training_takes(study, tmp_path, targets, excluded):
    tables = study.tables
    labels = tables.labels.copy()
    labels.loc[labels["image_id"] == "south/P00/P00_000", "bleed"] = True  # there, and no box says where
    boxes = tables.boxes.copy()
    boxes.loc[0, "width"] = 200.0  # sticks out on the right
    spoiled = replace(tables, labels=labels, boxes=boxes)
    files = replace(study, tables=spoiled).write(tmp_path)
    index = cache_pixels(tables.images, 64, tmp_path / "pixels.npy", 1)
    index.to_parquet(tmp_path / "pixels.parquet")
    samples = load_detection_samples(
        pixels=tmp_path / "pixels.npy", index=tmp_path / "pixels.parquet", **files, targets=targets, excluded=excluded
    )
    chosen = select(spoiled, targets, excluded=excluded)
    assert any(reasons["other_class"] for reasons in chosen.left_out.values()) == bool(excluded)
    assert set(chosen.subsets) == set(samples)
    for subset, sample in samples.items():
        images, own = chosen.of_subset(subset)
        assert sorted(images["image_id"]) == sorted(sample.image_ids)
        assert {**sample.left_out, "dropped": 0} == chosen.left_out[subset]
        found = dict(zip(sample.image_ids, sample.boxes, strict=True))
        for image_id, rows in own.groupby("image_id"):
            corners = rows[["x", "y"]].to_numpy(), (rows[["x", "y"]].to_numpy() + rows[["width", "height"]].to_numpy())
            scaled = np.concatenate(corners, axis=1) * np.tile([64 / 96, 64 / 64], 2)
            assert np.allclose(scaled, found[image_id], atol=1e-4)
        assert len(own) == sum(map(len, sample.boxes))


def test_what_balancing_dropped_is_left_out_and_counted(study):
    split = study.tables.split.copy()
    split.loc[[0, 1], "dropped_by"] = "undersample"
    chosen = select(replace(study.tables, split=split))
    assert chosen.left_out["train"] == {"unknown": 0, "without_box": 0, "other_class": 0, "dropped": 2}
    assert not chosen.images["image_id"].isin(split["image_id"].head(2)).any()
    everything = select(replace(study.tables, split=split), with_dropped=True)
    assert len(everything.images) == len(chosen.images) + 2


# --- the gate ---


def options(**changes):
    return EvidenceOptions(**{"targets": CLASSES, "factor": 3, "negatives": None, **changes})


def test_the_evidence_names_all_that_was_checked(whole):
    evidence = verify_detection_set(whole, options())
    assert evidence["passed"]
    checks = {check["name"]: check for check in evidence["checks"]}
    assert list(checks) == [
        "no patient in two subsets",
        "boxes inside their images",
        *(f"negative images in {subset}" for subset in ("train", "val", "test")),
        "augmentation of train alone",
        "valid COCO documents",
        "files exist",
        "no class missing",
    ]
    assert checks["files exist"]["checked"] == len(whole.images)
    assert checks["no patient in two subsets"]["found"] == "0 of 12 patients in two subsets"
    assert all(check["passed"] and not check["examples"] for check in evidence["checks"])


def with_images(whole, change):
    images = whole.images.copy()
    change(images)
    return replace(whole, images=images)


def share_a_patient(whole):
    def change(images):
        images.loc[images["subset"] == "test", "patient_id"] = "south:P00"

    return with_images(whole, change)


def lose_a_file(whole):
    return with_images(
        whole, lambda images: images.__setitem__("path", images["path"].replace(images["path"][0], "gone.png"))
    )


def let_a_box_out(whole):
    boxes = whole.boxes.copy()
    boxes.loc[0, "x"] = 95.0
    return replace(whole, boxes=boxes)


def copy_into_test(whole):
    def change(images):
        images.loc[images["subset"] == "test", "original_id"] = images["image_id"][0]

    return with_images(whole, change)


def lose_a_class(whole):
    test = whole.images.loc[whole.images["subset"] == "test", "image_id"]
    return replace(whole, boxes=whole.boxes[~((whole.boxes["label"] == "clot") & whole.boxes["image_id"].isin(test))])


@pytest.mark.parametrize(
    ("spoil", "check", "found"),
    [
        (share_a_patient, "no patient in two subsets", "1 of"),
        (let_a_box_out, "boxes inside their images", "1 of"),
        (copy_into_test, "augmentation of train alone", "in other subsets"),
        (lose_a_file, "files exist", "1 of"),
        (lose_a_class, "no class missing", "clot in test"),
    ],
)
def test_a_failure_is_one_line_that_names_check_and_example(whole, spoil, check, found):
    with pytest.raises(InputError) as caught:
        verify_detection_set(spoil(whole), options())
    assert str(caught.value).startswith(f"detection set: {check}: found ")
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_balance_of_each_subset_is_asked_for(whole):
    wide = options(negatives=ExpectedNegatives(share=0.4, tolerance=0.1))
    checks = verify_detection_set(whole, wide)["checks"]
    assert checks[4]["expected"] == "40.0%, give or take 10.0%"
    assert checks[4]["found"] == "42.9%: 3 images known to show none of the classes, 4 with a box"
    with pytest.raises(InputError, match=r"negative images in val: found 42\.9%: 3 .* Also: .* in test\."):
        verify_detection_set(whole, options(negatives=ExpectedNegatives(share=0.5, tolerance=0.02)))


def test_more_copies_than_the_factor_and_copies_of_nothing_fail(whole):
    with pytest.raises(InputError, match="augmentation of train alone"):
        verify_detection_set(whole, options(factor=2))
    with pytest.raises(InputError, match="augmentation of train alone"):
        verify_detection_set(select_originals(whole), options(factor=3))
    verify_detection_set(select_originals(whole), options(factor=1))


def select_originals(whole):
    images = whole.images[whole.images["original_id"].isna()].reset_index(drop=True)
    return replace(whole, images=images, boxes=whole.boxes[whole.boxes["image_id"].isin(images["image_id"])])


def test_faults_of_a_coco_document_are_found(whole):
    document = coco_document(whole, "train", name_files(whole.images, None))
    assert find_faults(document) == []
    document["annotations"][0]["bbox"] = [90.0, 0.0, 10.0, 5.0]
    document["annotations"][1]["image_id"] = 10**6
    document["annotations"][2]["category_id"] = 3
    document["images"][1]["id"] = document["images"][0]["id"]
    faults = find_faults(document)
    assert any("leaves its image" in fault for fault in faults)
    assert any("of no image" in fault for fault in faults)
    assert any("of no category" in fault for fault in faults)
    assert any(fault.startswith("images: ids") for fault in faults)


# --- exports ---


def export(whole, folder, form, **changes):
    values = {"targets": CLASSES, "format": form, "files": "hard_link", "partly_known": "keep", "salt": "salt"}
    return export_set(whole, ExportOptions(**{**values, **changes}), folder)


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_images_on_which_a_class_is_unknown_are_exported_when_asked_for(study, tmp_path, form):
    labels = study.tables.labels.copy()
    negative = labels["image_id"] == "south/P00/P00_000"
    labels.loc[negative, "clot"] = pd.NA
    chosen = select(replace(study.tables, labels=labels))
    kept = export(chosen, tmp_path / "kept", form)
    left = export(chosen, tmp_path / "left", form, partly_known="leave_out")
    subset = chosen.images.set_index("image_id").loc["south/P00/P00_000", "subset"]
    assert left["left_out"][subset]["partly_known"] == 2  # with the one that the study has
    assert left["subsets"][subset]["images"] == kept["subsets"][subset]["images"] - 2
    if form == "coco":
        document = json.loads((tmp_path / f"kept/annotations/instances_{subset}.json").read_text("utf-8"))
        lacking = [image.get("not_exhaustive_category_ids") for image in document["images"]]
        assert sorted(ids for ids in lacking if ids) == [[1], [2]]


def test_pycocotools_reads_the_coco_tree(whole, tmp_path):
    record = export(whole, tmp_path / "coco", "coco")
    for subset in ("train", "val", "test"):
        images, boxes = whole.of_subset(subset)
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(tmp_path / f"coco/annotations/instances_{subset}.json"))
        assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(CLASSES)
        assert len(coco.getImgIds()) == len(images) == record["subsets"][subset]["images"]
        assert len(coco.getAnnIds()) == len(boxes)
        for image in coco.loadImgs(coco.getImgIds()):
            assert (tmp_path / "coco/images" / subset / image["file_name"]).is_file()
        paths = {Path(path).stat().st_ino for path in images["path"]}
        assert {path.stat().st_ino for path in (tmp_path / "coco/images" / subset).iterdir()} == paths
        background = set(coco.getImgIds()) - {annotation["image_id"] for annotation in coco.anns.values()}
        assert len(background) == record["subsets"][subset]["background"] > 0
        clots = coco.getAnnIds(catIds=coco.getCatIds(catNms=["clot"]))
        sides = np.sort([coco.anns[number]["bbox"] for number in clots], axis=0)
        table = boxes.loc[boxes["label"] == "clot", ["x", "y", "width", "height"]].to_numpy()
        assert np.allclose(sides, np.sort(table, axis=0))


def test_ultralytics_reads_the_yolo_tree_wherever_it_lies(whole, tmp_path):
    record = export(whole, tmp_path / "elsewhere/yolo", "yolo")
    import_ultralytics(tmp_path / "settings")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    (tmp_path / "elsewhere").rename(tmp_path / "moved")
    data = check_det_dataset(str(tmp_path / "moved/yolo/data.yaml"))
    assert data["names"] == dict(enumerate(CLASSES))
    for subset in ("train", "val", "test"):
        images, boxes = whole.of_subset(subset)
        dataset = YOLODataset(img_path=data[subset], data=data, task="detect", augment=False, imgsz=64)
        assert len(dataset) == len(images) == record["subsets"][subset]["images"]
        names = name_files(images, "salt")
        by_name = {Path(label["im_file"]).name: label for label in dataset.labels}
        for image_id, own in boxes.groupby("image_id"):
            label = by_name[names[image_id]]
            assert label["cls"].ravel().tolist() == [CLASSES.index(name) for name in own["label"]]
            width, height = label["shape"][::-1]
            scaled = label["bboxes"] * [width, height, width, height]
            centres = own[["x", "y"]].to_numpy() + own[["width", "height"]].to_numpy() / 2
            assert np.allclose(scaled[:, :2], centres, atol=1e-3)
            assert np.allclose(scaled[:, 2:], own[["width", "height"]], atol=1e-3)
        empty = [label for label in dataset.labels if not len(label["cls"])]
        assert len(empty) == record["subsets"][subset]["background"] > 0


def test_every_yolo_image_has_a_label_file_and_paths_are_relative(whole, tmp_path):
    export(whole, tmp_path / "yolo", "yolo")
    for subset in ("train", "val", "test"):
        stems = {path.stem for path in (tmp_path / "yolo/images" / subset).iterdir()}
        assert stems == {path.stem for path in (tmp_path / "yolo/labels" / subset).iterdir()}
    text = (tmp_path / "yolo/data.yaml").read_text()
    assert (tmp_path / "yolo/dataset.yaml").read_text() == text  # where FiftyOne looks
    assert "train: images/train\nval: images/val\ntest: images/test\n" in text
    assert "path" not in text
    assert str(tmp_path) not in text


def test_a_variant_of_fewer_classes_links_the_same_files(augmented, tmp_path):
    record = export(select(augmented, ("clot",)), tmp_path / "coco", "coco", targets=("clot",))
    document = json.loads((tmp_path / "coco/annotations/instances_test.json").read_text())
    assert [category["name"] for category in document["categories"]] == ["clot"]
    assert record["subsets"]["test"] == {**record["subsets"]["test"], "images": 8, "boxes": 2, "background": 6}


@pytest.mark.parametrize("way", ["hard_link", "symbolic_link", "copy"])
def test_files_come_as_asked_and_the_originals_stay(whole, tmp_path, way):
    before = {path: Path(path).stat().st_mtime_ns for path in whole.images["path"]}
    export(whole, tmp_path / "coco", "coco", files=way)
    made = list((tmp_path / "coco/images/test").iterdir())
    assert all(path.is_symlink() == (way == "symbolic_link") for path in made)
    assert not any(path.readlink().is_absolute() for path in made if path.is_symlink())
    same = {Path(path).stat().st_ino for path in made} & {Path(path).stat().st_ino for path in before}
    assert len(same) == (0 if way == "copy" else len(made))
    assert before == {path: Path(path).stat().st_mtime_ns for path in before}


def test_a_hard_link_that_the_file_system_refuses_is_a_symbolic_one(whole, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    export(whole, tmp_path / "coco", "coco")
    assert all(path.is_symlink() and path.is_file() for path in (tmp_path / "coco/images/test").iterdir())


@pytest.mark.parametrize(("salt", "shown"), [("salt", False), (None, True)])
def test_patients_are_named_as_asked(whole, salt, shown):
    names = name_files(whole.images, salt)
    assert names.is_unique
    assert names.str.contains(r"_P\d\d_").any() == shown
    copy = whole.images.loc[whole.images["original_id"].notna()].iloc[0]
    stem = Path(names[copy["original_id"]]).stem
    assert names[copy["image_id"]] == f"{stem}_aug{copy['image_id'][-1]}.jpg"


@pytest.mark.parametrize("form", ["coco", "yolo"])
def test_an_export_that_is_not_the_set_is_refused(whole, tmp_path, monkeypatch, form):
    """The tree is read back: a writer that forgets a box is noticed."""
    import scanline.prepare.set_export as module

    writer = f"_write_{form}"
    real = getattr(module, writer)
    monkeypatch.setattr(module, writer, lambda whole, *rest: real(replace(whole, boxes=whole.boxes.iloc[1:]), *rest))
    with pytest.raises(InputError, match="images, boxes, images with a box"):
        export(whole, tmp_path / form, form)


def test_a_missing_file_is_told_before_anything_is_written(whole, tmp_path):
    with pytest.raises(InputError, match=r"no file gone\.png"):
        export(lose_a_file(whole), tmp_path / "coco", "coco")
    assert not (tmp_path / "coco").exists()


# --- numbers ---


def test_the_numbers_add_up(study, whole):
    previous = {"first": {"images": {"train": 20, "valid": 5}, "boxes": {"bleed": 9}}}
    natural = select(study.tables)
    found = describe_set({"curated": natural, "balanced": natural, "augmented": whole}, previous)
    assert found["images"] == whole.images["subset"].value_counts().to_dict()
    assert found["boxes"] == whole.boxes["label"].value_counts().to_dict()
    for stage in found["stages"].values():
        for counts in stage.values():
            for part in ("images", "negatives"):
                assert sum(source[part] for source in counts["sources"].values()) == counts[part]
            for target in CLASSES:
                assert sum(source["boxes"][target] for source in counts["sources"].values()) == counts["boxes"][target]
    assert found["stages"]["balanced"]["test"]["images_with"] == {"bleed": 4, "clot": 2}
    assert found["stages"]["balanced"]["test"]["negatives"] == 3
    assert found["stages"]["balanced"]["test"]["partly_known"] == 1
    assert found["stages"]["augmented"]["train"]["copies"] == 2 * 32
    assert sum(found["sizes"]["clot"]["side_shares"]) == (natural.boxes["label"] == "clot").sum()
    assert found["previous"] == previous
    assert [len(example["pictures"]) for example in found["examples"]] == [3, 3, 3, 3]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("counts", [{}, {"images": {"train": 1}}, {"images": {"train": 1.5}, "boxes": {}}, ["images"]])
def test_an_earlier_version_that_is_not_counted_is_told(study, counts):
    with pytest.raises(InputError, match="previous version first: "):
        describe_set({"curated": select(study.tables), "balanced": select(study.tables)}, {"first": counts})


def test_sizes_and_places_of_known_boxes():
    boxes = np.array([[0, 0, 50, 50, 100, 100], [50, 50, 50, 50, 100, 100], [0, 0, 200, 100, 200, 100]], dtype=float)
    sizes = describe_sizes(boxes)
    assert sizes["width_px"] == [50.0, 50.0, 125.0]
    assert sizes["side_shares"][12] == 2
    assert sizes["side_shares"][24] == 1
    places = cover(boxes)
    assert places.shape == (32, 32)
    assert (places[:16, :16] == 2).all()
    assert (places[16:, :16] == 1).all()
    assert describe_sizes(np.zeros((0, 6)))["width_px"] is None
    assert cover(np.zeros((0, 6))).sum() == 0


def test_an_image_of_the_split_that_is_in_no_table_is_told(study):
    tables = study.tables
    with pytest.raises(InputError, match=r"no row for image 'south/P00/P00_000' \(1 such\)"):
        select(replace(tables, images=tables.images.iloc[1:]))
    with pytest.raises(InputError, match="a box outside the image"):
        select(replace(tables, boxes=pd.concat([tables.boxes.assign(x=500.0)])))
