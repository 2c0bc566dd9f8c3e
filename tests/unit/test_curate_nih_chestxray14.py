import io
import tarfile

import numpy as np
import pandas as pd
import pytest
from chestxray14_files import BOXES, HEADING, ROWS_2017, ROWS_2020, curated, write
from PIL import Image

from scanline.acquire.local import acquire
from scanline.acquire.options import LocalSource
from scanline.core.errors import InputError
from scanline.split.groups import find_groups
from scanline.split.options import OfficialSplit
from scanline.split.protocols import assign_split


def reasons(tables):
    return tables.rejects["reason"].value_counts().to_dict()


def label(tables, image, name):
    return tables.labels.set_index("image_id").loc[f"nih/{image}", name]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "raw"


def write_2020(folder, name="Data_Entry_2017_v2020.csv.gz", rows=ROWS_2020):
    return write(folder / name, HEADING, *rows)


def test_the_table_alone_gives_images_without_files(folder):
    write_2020(folder)
    tables, flow = curated(folder)
    images = tables.images.set_index("image_id")
    assert list(images.index) == ["nih/00000001_000", "nih/00000001_001", "nih/00000002_000"]
    assert images[["path", "sha256", "phash"]].isna().all(axis=None)
    assert (images[["width", "height"]] == 1024).all(axis=None)
    assert list(images["patient_id"]) == ["nih:1", "nih:1", "nih:2"]
    assert list(images["follow_up"]) == [0, 1, 0]
    assert list(images["age_years"]) == [57, 58, 80]
    assert list(images["sex"]) == ["male", "male", "female"]
    assert list(images["view"]) == ["PA", "PA", "AP"]
    assert (flow["files"], flow["images"], flow["images_without_file"], flow["annotations"]) == (1, 0, 3, 1)


def test_no_finding_is_none_of_the_classes(folder):
    write_2020(folder)
    tables, _ = curated(folder)
    assert "no finding" not in tables.labels.columns
    assert label(tables, "00000001_001", "cardiomegaly")
    assert label(tables, "00000001_001", "emphysema")
    healthy = tables.labels.set_index("image_id").loc["nih/00000002_000"]
    assert healthy.notna().all()
    assert not healthy.any()


def test_the_form_of_2017_with_its_trailing_column_units_and_line_ends(folder):
    write(folder / "Data_Entry_2017.csv", HEADING + ",", *ROWS_2017, end="\r\n")
    tables, _ = curated(folder)
    assert reasons(tables)["label_file_of_2017"] == 1
    assert reasons(tables)["age_impossible"] == 1
    ages = tables.images["age_years"]
    assert ages[0] == 58
    assert np.isnan(ages[1])
    assert ages[2] == 0.5
    assert list(tables.images["patient_id"]) == ["nih:1", "nih:1", "nih:2"]


def test_two_label_files_are_never_mixed(folder):
    write_2020(folder)
    write(folder / "Data_Entry_2017.csv", HEADING + ",", *ROWS_2017)
    with pytest.raises(InputError, match="2 label files"):
        curated(folder)
    tables, flow = curated(folder, release="2017")
    assert label(tables, "00000001_001", "effusion")
    assert flow["noted_by_reason"]["not_in_layout"] == 1


def test_a_release_that_the_content_denies_is_refused(folder):
    write(folder / "Data_Entry_2017.csv", HEADING + ",", *ROWS_2017)
    with pytest.raises(InputError, match="one label file of release 2020"):
        curated(folder, release="2020")


def test_a_whole_table_of_neither_release_is_refused(folder, monkeypatch):
    monkeypatch.setattr("scanline.curate.adapters.nih_chestxray14.ROWS", 3)
    write_2020(folder)
    with pytest.raises(InputError, match="0 images with Infiltration and 0 ages over 120"):
        curated(folder)


def test_boxes_add_places_and_the_labels_hold(folder):
    rows = (*BOXES, "00000002_000.png,Infiltrate,1,2,3,4,,,", "00000009_000.png,Mass,1,2,3,4,,,")
    write_2020(folder)
    write(folder / "BBox_List_2017.csv.gz", *rows)
    tables, flow = curated(folder)
    boxes = tables.boxes.set_index("image_id")
    assert list(boxes.loc["nih/00000001_001"]) == ["cardiomegaly", 100.5, 200.25, 300, 400]
    assert boxes.loc["nih/00000002_000", "label"] == "infiltration"
    assert not label(tables, "00000002_000", "infiltration")
    assert reasons(tables)["box_without_label"] == reasons(tables)["box_without_image"] == 1
    assert flow["other"] == 1


def test_official_lists_become_a_column(folder):
    write_2020(folder)
    write(folder / "train_val_list.txt", "00000001_000.png", "00000001_001.png", end="\r\n")
    write(folder / "test_list.txt", "00000009_000.png")
    tables, flow = curated(folder)
    assert list(tables.images["official_subset"].fillna("none")) == ["train_val", "train_val", "none"]
    assert reasons(tables)["image_not_in_lists"] == 1
    assert flow["other"] == 2
    without, _ = curated(write_2020(folder.parent / "other").parent)
    assert without.images["official_subset"].isna().all()
    assert reasons(without)["official_lists_missing"] == 1


def test_one_list_without_the_other_or_an_image_in_both_is_refused(folder):
    write_2020(folder)
    write(folder / "test_list.txt", "00000001_000.png")
    with pytest.raises(InputError, match=r"test_list.txt without train_val_list.txt"):
        curated(folder)
    write(folder / "train_val_list.txt", "00000001_000.png")
    with pytest.raises(InputError, match="in the other official list too"):
        curated(folder)


def test_official_folders_with_images_of_one_two_and_four_channels(folder):
    write_2020(folder)
    write(folder / "BBox_List_2017.csv", *BOXES)
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 255, (1024, 1024), dtype=np.uint8))
    places = {"images_001/images/00000001_000.png": "L", "images_001/images/00000001_001.png": "LA"}
    for name, mode in {**places, "images_012/images/00000003_000.png": "RGBA"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        grey.convert(mode).save(folder / name)
    tables, flow = curated(folder, images="files")
    images = tables.images.set_index("image_id")
    assert list(images.index) == ["nih/00000001_000", "nih/00000001_001"]
    assert images.loc["nih/00000001_000", "path"].endswith("images_001/images/00000001_000.png")
    assert images["sha256"].nunique() == 2
    counts = reasons(tables)
    assert counts["row_without_image"] == counts["image_not_in_table"] == counts["channels_reduced"] == 1
    assert (flow["images"], flow["images_without_file"], flow["refused"]) == (2, 0, 1)


def test_the_official_layout_as_archives_is_curated_and_split_by_its_lists(folder):
    """All that is published: archives of images, label file, boxes and both lists."""
    rng = np.random.default_rng(1)
    rows = [
        f"{patient:08d}_{image:03d}.png,{'Mass' if image else 'No Finding'},{image},{patient},50,F,PA,1,1,1,1"
        for patient in range(1, 11)
        for image in range(2)
    ]
    names = [row.split(",")[0] for row in rows]
    write_2020(folder, name="Data_Entry_2017_v2020.csv", rows=rows)
    write(folder / "BBox_List_2017.csv", BOXES[0], f"{names[3]},Mass,100,200,300,400,,,")
    write(folder / "train_val_list.txt", *names[:16])
    write(folder / "test_list.txt", *names[16:])
    for number, part in enumerate((names[:10], names[10:]), start=1):
        with tarfile.open(folder / f"images_{number:03d}.tar.gz", "w:gz") as archive:
            for name in part:
                content = io.BytesIO()
                pixels = rng.integers(0, 255, (16, 16), dtype=np.uint8).repeat(64, axis=0).repeat(64, axis=1)
                Image.fromarray(pixels).save(content, "PNG")
                info = tarfile.TarInfo(f"images/{name}")
                info.size = len(content.getvalue())
                content.seek(0)
                archive.addfile(info, content)
    files = acquire(LocalSource(method="local", path=str(folder), how_to_get="-", unpack=True))
    tables, flow = curated(folder, files, images="files", release=None)
    assert (flow["files"], flow["images"], flow["annotations"], flow["other"], flow["refused"]) == (24, 20, 1, 3, 0)
    assert tables.images["path"].str.contains(r"/images_00[12]/images/").all()
    assert tables.boxes["image_id"].tolist() == [f"nih/{names[3][:-4]}"]
    options = OfficialSplit(protocol="official", val_share=0.25, balance=["mass"], seed=0)
    split = assign_split(tables.images, find_groups(tables.images, tables.thumbnails), tables.labels, options)
    assert split["subset"].value_counts().to_dict() == {"train": 12, "val": 4, "test": 4}
    of_test = split.loc[split["subset"] == "test", "image_id"]
    assert sorted(of_test) == [f"nih/{name[:-4]}" for name in names[16:]]
    by_patient = split.merge(tables.images, on="image_id").groupby("patient_id")["subset"].nunique()
    assert (by_patient == 1).all()


def test_images_of_other_names_are_told_with_the_next_step(folder):
    write_2020(folder)
    with pytest.raises(InputError, match="0 image files"):
        curated(folder, images="files")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((ROWS_2020[0], ROWS_2020[0]), "in rows 1 and 2"),
        (("00000001_000.png,Cardiomegaly,0,1,old,M,PA,1,1,1,1",), "Patient Age: found 'old'"),
        (("00000001_000.png,Cardiomegaly,0,1,57,X,PA,1,1,1,1",), "Patient Gender: found 'X'"),
        (("00000001_000.png,Cardiomegaly,0,one,57,M,PA,1,1,1,1",), "Patient ID: found 'one'"),
        (("00000001_000.png,Cardiomegaly",), "at least 7 fields"),
        (("00000001_000.png,Cardiac,0,1,57,M,PA,1,1,1,1",), "the class 'Cardiac'"),
    ],
)
def test_bad_rows_are_one_line(folder, rows, words):
    write_2020(folder, rows=rows)
    with pytest.raises(InputError) as caught:
        curated(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_contradictory_findings_are_refused_as_a_row(folder):
    write_2020(folder, rows=(*ROWS_2020, "00000003_000.png,No Finding|Mass,0,3,57,M,PA,1,1,1,1"))
    tables, flow = curated(folder)
    assert len(tables.images) == 3
    assert flow["refused_rows_by_reason"] == {"findings_contradict": 1}


def test_damaged_and_foreign_tables_are_one_line(folder):
    path = write_2020(folder)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="a CSV file in UTF-8"):
        curated(folder)
    write(path, "image,label")
    with pytest.raises(InputError, match="heading that begins with image, label"):
        curated(folder)


def test_a_list_that_changed_after_the_manifest_is_refused(folder, monkeypatch):
    write_2020(folder)
    write(folder / "train_val_list.txt", "00000001_000.png")
    path = write(folder / "test_list.txt", "00000002_000.png")
    import chestxray14_files

    stale = chestxray14_files.make_manifest(folder)
    path.write_text("00000001_001.png\n")
    monkeypatch.setattr(chestxray14_files, "make_manifest", lambda _: stale)
    with pytest.raises(InputError, match="SHA-256"):
        curated(folder)


def test_the_order_of_rows_does_not_matter(folder):
    write_2020(folder)
    first, _ = curated(folder)
    write_2020(folder, rows=tuple(reversed(ROWS_2020)))
    second, _ = curated(folder)
    pd.testing.assert_frame_equal(first.images, second.images)
    pd.testing.assert_frame_equal(first.labels, second.labels)
