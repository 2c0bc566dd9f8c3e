"""Class folders: the folder is the class, wrong folders are told, duplicates go by rule, and nothing is lost."""

import numpy as np
import pytest
from PIL import Image

from scanline.acquire.manifest import make_manifest
from scanline.core.errors import InputError
from scanline.curate.merge import count_flow
from scanline.curate.options import CurateSource
from scanline.curate.scan import curate_source

CURATE = {
    "adapter": "class_folders",
    "layout": {},
    "classes": {"Epidural CT": "epidural", "Normal": "normal", "ok": "normal"},
    "annotated_classes": ["epidural", "normal"],
    "duplicate_files": "refuse",
}


@pytest.fixture
def folder(tmp_path):
    for number, path in enumerate(("Epidural CT/1.png", "Normal/1.png", "Normal/1.bmp", "ok/a/2.png")):
        draw(tmp_path / "raw" / path, number)
    return tmp_path / "raw"


def draw(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 30), dtype=np.uint8)).save(path)


def curated(folder, **changes):
    options = CurateSource.model_validate(
        {"folder": str(folder), "labels": ["epidural", "normal", "subdural"], "curate": {**CURATE, **changes}}
    )
    files = make_manifest(folder)
    tables = curate_source("web", files, folder.parent / "files.parquet", options)
    count_flow(files, tables, folder.parent / "files.parquet")  # it raises where a file is lost
    return tables


def reasons(tables):
    refused = tables.rejects[tables.rejects["action"] == "refused"]
    return dict(zip(refused["path"], refused["reason"], strict=True))


def test_the_folder_is_the_class_and_the_others_are_absent(folder):
    (folder / "ok/a/2.png").rename(folder / "ok/2.png")
    labels = curated(folder).labels.set_index("image_id")
    assert labels["epidural"].to_dict() == {
        "web/Epidural CT/1": True,
        "web/Normal/1.bmp": False,
        "web/Normal/1.png": False,
        "web/ok/2": False,
    }
    assert labels["normal"].tolist() == [False, True, True, True]
    assert labels["subdural"].isna().all()  # nobody looked for it


def test_two_files_of_one_name_keep_their_suffixes(folder):
    tables = curated(folder, layout={"images": r"(?P<label>[^/]+)/.*"})
    assert tables.images["image_id"].tolist() == [
        "web/Epidural CT/1",
        "web/Normal/1.bmp",
        "web/Normal/1.png",
        "web/ok/a/2",
    ]


def test_a_folder_that_is_not_mapped_is_an_error_that_names_it(folder):
    with pytest.raises(InputError, match=r"Normal.*expected one of 'Epidural CT'"):
        curated(folder, classes={"Epidural CT": "epidural"}, annotated_classes=["epidural"])
    with pytest.raises(InputError, match="the class 'a'"):
        curated(folder)  # ok/a/2.png lies in the folder a


def test_images_of_an_ignored_folder_are_refused_and_counted(folder):
    tables = curated(folder, classes={"Epidural CT": "epidural", "Normal": "normal"}, ignored_classes=["a"])
    assert reasons(tables) == {"ok/a/2.png": "class_ignored"}
    assert len(tables.images) == 3


def test_what_is_no_image_or_in_no_class_folder_is_refused(folder):
    (folder / "Normal/page.jpg").write_text("<html>", "utf-8")
    (folder / "list.txt").write_text("x", "utf-8")
    tables = curated(folder, ignored_classes=["a"])
    assert reasons(tables) == {
        "Normal/page.jpg": "image_unreadable",
        "list.txt": "no_class_folder",
        "ok/a/2.png": "class_ignored",
    }


def test_of_equal_files_of_a_class_the_first_stays_and_of_two_classes_none(folder):
    draw(folder / "Normal/0.png", 1)  # the bytes of Normal/1.png
    draw(folder / "Epidural CT/9.png", 8)
    draw(folder / "Normal/9.png", 8)
    tables = curated(folder, ignored_classes=["a"])
    assert reasons(tables) == {
        "Normal/1.png": "duplicate_file",
        "Epidural CT/9.png": "duplicate_of_another_class",
        "Normal/9.png": "duplicate_of_another_class",
        "ok/a/2.png": "class_ignored",
    }
    kept = curated(folder, ignored_classes=["a"], duplicate_files="keep")
    assert len(kept.images) == len(tables.images) + 3


def test_a_folder_without_class_folders_is_told(tmp_path):
    draw(tmp_path / "raw/1.png", 0)
    with pytest.raises(InputError, match="none of them in a class folder"):
        curated(tmp_path / "raw")


@pytest.mark.parametrize("pattern", ["(", "[^/]+/.*"])
def test_a_pattern_without_a_label_is_refused(folder, pattern):
    with pytest.raises(InputError, match="layout"):
        curated(folder, layout={"images": pattern})
