"""Roboflow exports, folders of negatives, and the tables of RSNA, CQ500 and BHX: each with its quirks."""

import numpy as np
import pytest
from curate_folders import SIZE
from hypothesis import given
from hypothesis import strategies as st
from source_folders import coco, curated, dicom, reasons, truth, write, write_pictures

from scanline.core.dicom import decode_dicom
from scanline.core.errors import InputError
from scanline.core.identifiers import digest_of_identifier
from scanline.core.images import Window
from scanline.curate.adapters.roboflow_coco import original_stem
from scanline.curate.box_texts import LONGEST, read_sides
from scanline.prepare.pixels import cache_pixels, resize
from scanline.split.groups import find_groups

BOX = [5, 4, 10, 8]
NAME = {"name": r"(?P<patient>\w+?)_(?P<slice>\d+)"}
CATEGORIES = [
    {"id": 0, "name": "ich", "supercategory": "none"},
    {"id": 1, "name": "EDH", "supercategory": "ich"},
    {"id": 2, "name": "IPH", "supercategory": "ich"},
]
HU = np.random.default_rng(3).integers(-20, 120, (32, SIZE)).astype(np.int16)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "raw"


# --- Roboflow -----------------------------------------------------------------------------------------------------


@pytest.fixture
def export(folder):
    """Two siblings of p1_0 in train and valid, and p2_0 in test."""
    names = {"train": "p1_0_jpg.rf.0a1b.jpg", "valid": "p1_0_jpg.rf.ffEE2.jpg", "test": "p2_0_png.rf.77.jpg"}
    write_pictures(folder, *(f"{subset}/{name}" for subset, name in names.items()))
    for subset, name in names.items():
        boxes = [(0, 2, BOX)] if subset == "train" else []
        write(folder / subset / "_annotations.coco.json", coco([name], boxes, categories=CATEGORIES))
    write(folder / "README.roboflow.txt", "words")
    return folder


def roboflow(folder, **changes):
    return curated(folder, "roboflow_coco", NAME, **changes)


def test_an_export_is_read_from_all_its_subsets_and_its_parent_is_no_class(export):
    tables, flow = roboflow(export)
    assert list(tables.images["patient_id"]) == ["src:p2", "src:p1", "src:p1"]
    assert list(tables.images["slice_index"]) == [0, 0, 0]
    assert tables.boxes[["image_id", "label"]].to_numpy().tolist() == [["src/train/p1_0_jpg.rf.0a1b", "iph"]]
    assert reasons(tables) == {"parent_category": 3, "not_in_layout": 1}
    assert (flow["files"], flow["images"], flow["annotations"], flow["other"]) == (7, 3, 3, 1)
    assert "official_subset" not in tables.images


def test_siblings_of_other_subsets_stay_together_without_a_patient(export):
    tables, _ = curated(export, "roboflow_coco", {"name": None})
    groups = find_groups(tables.images).set_index("image_id")["group_id"]
    assert tables.images["patient_id"].isna().all()
    assert groups["src/train/p1_0_jpg.rf.0a1b"] == groups["src/valid/p1_0_jpg.rf.ffEE2"]
    assert groups.nunique() == 2


def test_a_box_of_the_parent_is_refused_and_leaves_the_image_unknown(export):
    name = "p2_0_png.rf.77.jpg"
    write(export / "test/_annotations.coco.json", coco([name], [(0, 0, BOX), (0, 1, BOX)], categories=CATEGORIES))
    tables, flow = roboflow(export)
    assert flow["refused_rows_by_reason"] == {"box_of_parent_category": 1}
    assert truth(tables, "test/p2_0_png.rf.77") == {"iph": None, "sah": None, "edh": True}


def test_category_0_is_a_class_where_it_is_nobodys_parent(export):
    categories = [{"id": 0, "name": "IPH", "supercategory": "none"}, {"id": 1, "name": "EDH", "supercategory": "none"}]
    write(export / "test/_annotations.coco.json", coco(["p2_0_png.rf.77.jpg"], [(0, 0, BOX)], categories=categories))
    tables, _ = roboflow(export)
    assert truth(tables, "test/p2_0_png.rf.77")["iph"] is True


def test_a_subset_without_an_image_of_its_own_is_refused_and_counted(export):
    (export / "test/p2_0_png.rf.77.jpg").unlink()
    tables, flow = roboflow(export)
    assert flow["refused_by_reason"] == {"annotation_without_image": 1}
    assert reasons(tables)["image_file_missing"] == 1


def test_a_folder_that_is_no_export_is_one_line(folder):
    write_pictures(folder, "a.png")
    with pytest.raises(InputError, match=r"found no _annotations\.coco\.json in any folder"):
        roboflow(folder)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("train/a_1_jpg.rf.0a1b2c.jpg", "a_1"),
        ("a_1_PNG.rf.Zz9.jpg", "a_1"),
        ("a_1.rf.0a1b.png", "a_1"),
        ("a_1_jpg.jpg", "a_1_jpg"),
        ("a.rf.b_1.png", "a.rf.b_1"),
    ],
)
def test_the_original_name_is_found_again(name, stem):
    assert original_stem(name) == stem


# --- a folder of negatives ----------------------------------------------------------------------------------------


def test_pictures_and_dicom_of_a_folder_are_negatives_of_what_was_looked_for(folder):
    write_pictures(folder, "1042_7.png")
    write(folder / "deep/1043_2.dcm", dicom(HU, PatientID="other", InstanceNumber=9))
    write(folder / "notes.txt", "words")
    tables, flow = curated(folder, "image_folder", NAME, classes={}, annotated_classes=["iph", "sah"])
    images = tables.images.set_index("image_id")
    assert list(images["patient_id"]) == ["src:1042", "src:1043"]  # the name goes before the header
    assert list(images["slice_index"]) == [7, 2]
    assert images["volume_id"].isna().tolist() == [True, False]
    assert truth(tables, "deep/1043_2") == {"iph": False, "sah": False, "edh": None}
    assert (flow["images"], flow["boxes"], flow["other"]) == (2, 0, 1)


def digested(identifier: str) -> str:
    """An identifier of a header as the images table of `src` has it."""
    return f"src:{digest_of_identifier(identifier)}"


def test_without_a_pattern_the_header_tells_patient_series_and_position(folder):
    write(folder / "x.dcm", dicom(HU, PatientID="A", SeriesInstanceUID="1.9", InstanceNumber=3))
    write(folder / "y.dcm", dicom(HU + 1, PatientID=None, SeriesInstanceUID=None, InstanceNumber=None))
    tables, _ = curated(folder, "image_folder", {"name": None}, classes={})
    images = tables.images.set_index("image_id")
    known = images.loc["src/x", ["patient_id", "volume_id", "slice_index"]]
    assert known.tolist() == [digested("A"), digested("1.9"), 3]
    assert images.loc["src/y", ["patient_id", "volume_id", "slice_index"]].isna().all()


def test_sources_of_one_numbering_share_their_patients(folder):
    write_pictures(folder, "7_1.png")
    found = [
        curated(folder, "image_folder", NAME, classes={}, name=name, patient_numbering="hospital")[0].images
        for name in ("one", "two")
    ]
    assert [table["patient_id"].item() for table in found] == ["hospital:7"] * 2


def test_the_window_of_the_source_decides_what_is_scanned_and_cached(folder, tmp_path):
    write(folder / "1_1.dcm", dicom(HU))
    write_pictures(folder, "2_1.png")
    window = {"window_center_hu": 20.0, "window_width_hu": 200.0}
    tables, _ = curated(folder, "image_folder", NAME, classes={}, **window)
    expected, _ = decode_dicom(dicom(HU), Window(20, 200))
    image = tables.images.set_index("image_id").loc["src/1_1"]
    assert image["grey_mean"] == pytest.approx(expected.mean())
    assert (image["window_center_hu"], image["window_width_hu"]) == (20, 200)
    assert tables.images.set_index("image_id").loc["src/2_1", list(window)].isna().all()
    cache_pixels(tables.images, 16, tmp_path / "pixels.npy", threads=1)
    assert np.array_equal(np.load(tmp_path / "pixels.npy")[0], resize(expected, 16))


def test_a_damaged_dicom_is_refused(folder):
    write(folder / "1_1.dcm", dicom(HU)[:-100])
    write_pictures(folder, "2_1.png")
    tables, _ = curated(folder, "image_folder", NAME, classes={})
    assert reasons(tables) == {"image_unreadable": 1}
    assert "damaged DICOM" in tables.rejects["detail"].item()


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([f"{n}.png" for n in range(5)], "5 of 5 image names that do not match, such as '0', '1', '2'"),
        (["1_2.png", "1_x.png"], "1 of 2 image names that do not match, such as '1_x'"),
        (["_1.png"], "1 of 1 image names that do not match, such as '_1'"),
    ],
)
def test_a_name_without_a_patient_is_an_error_with_examples(folder, names, found):
    write_pictures(folder, *names)
    with pytest.raises(InputError, match=found):
        curated(folder, "image_folder", {"name": r"(?P<patient>\d*)_(?P<slice>\w+)"}, classes={})


def test_a_folder_without_an_image_is_one_line(folder):
    write(folder / "notes.txt", "words")
    with pytest.raises(InputError, match="found 1 files, none of them an image"):
        curated(folder, "image_folder", NAME, classes={})


@pytest.mark.parametrize("pattern", [r"\d+_\d+", r"(?P<patient>\d+", r"(?P<patient>\d+)(?P<sex>\w)"])
def test_a_pattern_has_to_name_the_patient(folder, pattern):
    write_pictures(folder, "1_1.png")
    with pytest.raises(InputError, match=r"layout: name: found .*; expected a (pattern|regular expression)"):
        curated(folder, "image_folder", {"name": pattern}, classes={})


# --- RSNA ---------------------------------------------------------------------------------------------------------

KINDS = ("epidural", "intraparenchymal", "subarachnoid", "any")
RSNA = {"classes": {"epidural": "edh", "intraparenchymal": "iph", "subarachnoid": "sah"}, "ignored_classes": ["any"]}


def rsna_rows(image, *values):
    return [f"{image}_{kind},{value}" for kind, value in zip(KINDS, values, strict=True)]


def rsna(folder, rows, **changes):
    write(folder / "stage_2_train.csv", "\n".join(["ID,Label", *rows]))
    return curated(folder, "rsna_ich", {}, **{**RSNA, **changes})


@pytest.fixture
def rsna_images(folder):
    for number, patient in enumerate(("ID_p1", "ID_p1", "ID_p2")):
        name = f"ID_{number}a"
        content = dicom(HU + number, PatientID=patient, InstanceNumber=None, SOPInstanceUID=f"1.2.{number}")
        write(folder / f"stage_2_train/{name}.dcm", content)
    return folder


ROWS = [*rsna_rows("ID_0a", 0, 1, 0, 1), *rsna_rows("ID_1a", 0, 0, 0, 0), *rsna_rows("ID_2a", 1, 0, 1, 1)]


def test_rsna_labels_come_from_the_table_and_patients_from_the_headers(rsna_images):
    tables, flow = rsna(rsna_images, ROWS)
    assert list(tables.images["patient_id"]) == [digested("ID_p1"), digested("ID_p1"), digested("ID_p2")]
    assert truth(tables, "stage_2_train/ID_0a") == {"iph": True, "sah": False, "edh": False}
    assert truth(tables, "stage_2_train/ID_1a") == {"iph": False, "sah": False, "edh": False}
    assert truth(tables, "stage_2_train/ID_2a") == {"iph": False, "sah": True, "edh": True}
    assert reasons(tables) == {"class_ignored": 1, "slices_by_instance_number": 1}
    assert tables.rejects["detail"].iloc[0] == "'any' is on 2 images"
    assert (flow["files"], flow["images"], flow["annotations"]) == (4, 3, 1)


def test_rsna_duplicate_rows_are_counted_and_change_nothing(rsna_images):
    tables, flow = rsna(rsna_images, [*ROWS, *ROWS[:4]])
    assert flow["refused_rows_by_reason"] == {"duplicate_row": 4}
    assert truth(tables, "stage_2_train/ID_0a") == {"iph": True, "sah": False, "edh": False}


def test_rsna_rows_that_contradict_each_other_leave_the_label_unknown(rsna_images):
    tables, flow = rsna(rsna_images, [*ROWS, "ID_0a_intraparenchymal,0", "ID_1a_any,1"])
    assert flow["refused_rows_by_reason"] == {"rows_contradict": 2}
    assert truth(tables, "stage_2_train/ID_0a") == {"iph": None, "sah": False, "edh": False}


def test_rsna_any_that_says_otherwise_is_noted(rsna_images):
    tables, _ = rsna(rsna_images, [*rsna_rows("ID_0a", 0, 0, 0, 1), *ROWS[4:]])
    assert reasons(tables) == {"any_contradicts": 1, "class_ignored": 1, "slices_by_instance_number": 1}


def test_rsna_rows_and_images_without_each_other_are_refused(rsna_images):
    _, flow = rsna(rsna_images, [*ROWS[:8], *rsna_rows("ID_9a", 0, 0, 0, 0), "ID_8a_any,2", "sample,0"])
    assert flow["refused_rows_by_reason"] == {"row_without_image": 1, "row_unreadable": 2}
    assert flow["refused_by_reason"] == {"image_not_in_table": 1}


def test_two_names_of_one_class_are_true_where_one_is_and_else_unknown_where_one_is(rsna_images):
    changes = {
        "classes": {"intraparenchymal": "iph", "subarachnoid": "iph"},
        "ignored_classes": ["any", "epidural"],
        "annotated_classes": ["iph"],
    }
    tables, _ = rsna(rsna_images, [*ROWS, "ID_1a_intraparenchymal,1"], **changes)
    assert [truth(tables, f"stage_2_train/ID_{n}a")["iph"] for n in range(3)] == [True, None, True]


def test_rsna_without_its_table_is_one_line(rsna_images):
    with pytest.raises(InputError, match=r"expected the table that layout\.table names"):
        curated(rsna_images, "rsna_ich", {}, **RSNA)


def test_rsna_with_another_heading_is_one_line(rsna_images):
    write(rsna_images / "stage_2_train.csv", "Image,Label\n")
    with pytest.raises(InputError, match="found the columns Image, Label; expected a column ID"):
        curated(rsna_images, "rsna_ich", {}, **RSNA)


# --- CQ500 --------------------------------------------------------------------------------------------------------

FINDINGS = ("IPH", "SAH")
CQ500 = {"classes": {"IPH": "iph", "SAH": "sah"}, "annotated_classes": ["iph", "sah"]}
HEADING = ",".join(["name", "Category", *(f"{reader}:{name}" for reader in ("R1", "R2", "R3") for name in FINDINGS)])


def cq500(folder, *rows, heading=HEADING):
    write(folder / "reads.csv", "\n".join([heading, *rows]))
    return curated(folder, "cq500", {"findings": FINDINGS}, **CQ500)


@pytest.fixture
def scans(folder):
    for number in (0, 7, 31):
        for index in range(2):
            path = folder / f"CQ500CT{number} CQ500CT{number}/Unknown Study/CT Plain/CT{index:06d}.dcm"
            fields = {"PatientID": f"CQ500-CT-{number}", "SeriesInstanceUID": f"1.{number}"}
            write(path, dicom(HU + 2 * number + index, SOPInstanceUID=f"1.{number}.{index}", **fields))
    return folder


def test_what_most_readers_deny_is_absent_from_each_slice_and_what_they_see_is_unknown(scans):
    rows = ("CQ500-CT-0,B1,1,0,1,0,0,0", "CQ500-CT-7,B1,0,0,0,1,1,0", "CQ500-CT-31,B2,0,1,0,0,0,")
    tables, flow = cq500(scans, *rows)
    place = "CQ500CT{0} CQ500CT{0}/Unknown Study/CT Plain/CT000001"
    assert truth(tables, place.format(0)) == {"iph": None, "sah": False, "edh": None}
    assert truth(tables, place.format(7)) == {"iph": False, "sah": False, "edh": None}
    assert truth(tables, place.format(31)) == {"iph": False, "sah": None, "edh": None}  # 1, 0 and nothing
    assert set(tables.images["patient_id"]) == {"src:0", "src:7", "src:31"}
    assert set(tables.images["volume_id"]) == {digested("1.0"), digested("1.7"), digested("1.31")}
    assert reasons(tables) == {"positive_scan": 1, "slices_by_instance_number": 3}
    assert (flow["files"], flow["images"], flow["annotations"]) == (7, 6, 1)


def test_scans_without_a_row_and_rows_without_a_scan_are_refused(scans):
    _, flow = cq500(scans, "CQ500-CT-0,B1,0,0,0,0,0,0", "CQ500-CT-9,B1,0,0,0,0,0,0")
    assert flow["refused_by_reason"] == {"image_not_in_table": 4}
    assert flow["refused_rows_by_reason"] == {"row_without_image": 1}


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("CQ500-CT-0,B1,2,0,0,0,0,0", r"row 2, R1:IPH: found '2'; expected 0, 1 or nothing"),
        ("scan,B1,0,0,0,0,0,0", r"row 2, name: found 'scan'"),
        ("CQ500-CT-7,B1,0,0,0,0,0,0", r"row 2, name: found 'CQ500-CT-7'; expected a scan .* each in one row"),
    ],
)
def test_a_wrong_value_of_the_reads_is_one_line(scans, row, found):
    with pytest.raises(InputError, match=found):
        cq500(scans, "CQ500-CT-7,B1,0,0,0,0,0,0", row)


# --- BHX ----------------------------------------------------------------------------------------------------------

TABLES = ("1_Initial_Manual_Labeling.csv", "3_Extrapolation_to_Selected_Series.csv")
BHX_HEADING = ",SOPInstanceUID,SeriesInstanceUID,StudyInstanceUID,data,labelName,labelType"
BHX = {"classes": {"Intraparenchymal": "iph", "Chronic": "edh"}, "annotated_classes": ["iph", "edh"]}


def bhx_row(uid, data="{'x': 5.5, 'y': 4, 'width': 10, 'height': 8}", label="Intraparenchymal"):
    return f'0,{uid},{uid.rpartition(".")[0]},1,"{data}",{label},Initial manual labeling'


def bhx(folder, first=(), second=(), **changes):
    for table, rows in zip(TABLES, (first, second), strict=True):
        write(folder / table, "\n".join([BHX_HEADING, *rows]))
    return curated(folder, "bhx", {"tables": TABLES}, **{**BHX, **changes})


def test_boxes_find_their_slices_by_the_uid_and_a_series_with_a_box_was_looked_at(scans):
    tables, flow = bhx(scans, [bhx_row("1.0.1")], [bhx_row("1.0.1"), bhx_row("1.7.0", label="Chronic")])
    place = "CQ500CT{0} CQ500CT{0}/Unknown Study/CT Plain/CT00000{1}"
    assert tables.boxes.to_numpy().tolist() == [
        [f"src/{place.format(0, 1)}", "iph", 5.5, 4, 10, 8],
        [f"src/{place.format(7, 0)}", "edh", 5.5, 4, 10, 8],
    ]
    assert truth(tables, place.format(0, 0)) == {"iph": False, "sah": None, "edh": False}
    assert truth(tables, place.format(7, 0)) == {"iph": False, "sah": None, "edh": True}
    assert truth(tables, place.format(31, 0)) == {"iph": None, "sah": None, "edh": None}
    assert flow["refused_rows_by_reason"] == {"duplicate_box": 1}
    assert flow["noted_by_reason"] == {"box_list": 2, "not_annotated": 2, "slices_by_instance_number": 3}
    assert (flow["files"], flow["images"], flow["other"]) == (8, 6, 2)


def test_rows_of_absent_images_unreadable_boxes_and_unfinished_rows_are_refused(scans):
    rows = [bhx_row("1.0.0"), bhx_row("1.99.0"), bhx_row("1.7.0", "no box"), bhx_row("", label="Chronic")]
    tables, flow = bhx(scans, rows)
    expected = {"row_without_image": 1, "box_unreadable": 1, "row_incomplete": 1}
    assert flow["refused_rows_by_reason"] == expected
    assert flow["boxes"] + flow["refused_rows"] == len(rows)
    refused = tables.rejects[tables.rejects["reason"] == "box_unreadable"]
    assert (refused["path"].item(), refused["row"].item()) == (TABLES[0], 2)
    found = truth(tables, "CQ500CT7 CQ500CT7/Unknown Study/CT Plain/CT000000")
    assert found == {"iph": None, "sah": None, "edh": False}


def test_an_unmapped_class_of_bhx_names_the_table(scans):
    with pytest.raises(InputError, match=rf"{TABLES[0]}: found the class 'Subdural'"):
        bhx(scans, [bhx_row("1.0.0", label="Subdural")])


def test_two_files_of_one_uid_are_one_image(scans):
    copy = scans / "CQ500CT0 CQ500CT0/Unknown Study/CT Plain/CT000000.dcm"
    write(scans / "copy/CT000000.dcm", copy.read_bytes())
    _, flow = bhx(scans, [bhx_row("1.0.0")])
    assert flow["refused_by_reason"] == {"duplicate_image": 1}
    assert flow["boxes"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1, 2, 3, 4]",
        "{'x': 1, 'y': 2, 'width': 3}",
        "{'x': 1, 'y': 2, 'width': 3, 'height': '4'}",
        "{'x': True, 'y': 2, 'width': 3, 'height': 4}",
        "{'x': 1e999, 'y': 2, 'width': 3, 'height': 4}",
        "{'x': 1, 'y': 2, 'width': 3, 'height': __import__('os').getpid()}",
        "__import__('os').system('exit 1')",
        "{" * 200,
        "{'x': 1, 'y': 2, 'width': 3, 'height': 4" + " " * LONGEST + "}",
        "{'x': 1" + "0" * 400 + ", 'y': 2, 'width': 3, 'height': 4}",
    ],
)
def test_what_is_no_box_is_not_run_and_gives_none(text):
    assert read_sides(text) is None


@given(st.tuples(*[st.floats(-1e6, 1e6)] * 4))
def test_python_and_json_dictionaries_are_read_exactly(sides):
    values = dict(zip(("x", "y", "width", "height"), sides, strict=True))
    assert read_sides(str(values)) == sides
    assert read_sides(str(values).replace("'", '"')) == sides


@given(st.text(max_size=60))
def test_any_text_gives_a_box_or_none(text):
    found = read_sides(text)
    assert found is None or len(found) == 4
