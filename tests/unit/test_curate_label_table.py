import curate_folders
import pytest
from curate_folders import LABELS, curate, labels_of, raw_folder, rejects_of  # noqa: F401

from scanline.acquire.manifest import make_manifest
from scanline.core.errors import InputError
from scanline.curate.entries import Entry
from scanline.curate.judge import Verdict
from scanline.curate.label_table import merge_labels, read_label_table
from scanline.curate.merge import count_flow
from scanline.curate.options import LabelTable

TABLE = {"path": "labels.csv", "columns": {"haemorrhage": "IPH", "perihaematomal_oedema": "oedema"}}
NAMES = ("0001_00.png", "0001_01.png", "0001_02.png")


@pytest.fixture(name="three")
def three_slices(raw):
    """Three slices: one with box and mask, one without either, one that nobody annotated."""
    return raw.add(1, 1).add(1, 2, annotation=None, mask=None)


def curate_with(raw, text, **changes):
    raw.write("labels.csv", text.encode())
    return curate(raw, label_table=TABLE | changes)


def notes(curated, *reasons):
    return [row for row in rejects_of(curated) if row[3] in reasons]


def test_absent_is_fine_and_changes_nothing(three):
    plain, asked = curate(three), curate(three, label_table=TABLE)
    assert asked.labels.equals(plain.labels)
    assert asked.rejects.equals(plain.rejects)


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        ("0001_00", "0001_01", "0001_02"),
        tuple(f"SubdatasetC_PNG/set/image1/{name}" for name in NAMES),
        tuple(f"SubdatasetC_PNG/set/image1/{name[:-4]}" for name in NAMES),
    ],
)
@pytest.mark.parametrize("values", [("1", "0"), ("true", "False"), ("1.0", "0.0")])
def test_labels_join_by_file_name_or_stem_or_path(three, names, values):
    yes, no = values
    text = f"image,IPH,oedema\n{names[2]},{yes},\n{names[0]},{yes},{yes}\n{names[1]},{no},{no}\n"
    curated = curate_with(three, text)
    assert labels_of(curated, "_00") == {"haemorrhage": True, "perihaematomal_oedema": True}
    assert labels_of(curated, "_01") == {"haemorrhage": False, "perihaematomal_oedema": False}
    assert labels_of(curated, "_02") == {"haemorrhage": True, "perihaematomal_oedema": None}
    assert notes(curated, "row_without_image", "image_not_in_label_table", "label_contradiction") == []


def test_empty_is_unknown_and_leaves_what_boxes_and_masks_say(three):
    curated = curate_with(three, "image,IPH,oedema\n0001_00,,\n0001_01,,\n0001_02,,0\n")
    assert labels_of(curated, "_00") == {"haemorrhage": True, "perihaematomal_oedema": True}
    assert labels_of(curated, "_01") == {"haemorrhage": False, "perihaematomal_oedema": False}
    assert labels_of(curated, "_02") == {"haemorrhage": None, "perihaematomal_oedema": False}


def test_a_contradiction_is_noted_and_counts_as_there(three):
    curated = curate_with(three, "image,IPH,oedema\n0001_00,0,1\n0001_01,0,1\n0001_02,,\n")
    assert labels_of(curated, "_00")["haemorrhage"] is True
    assert labels_of(curated, "_01")["perihaematomal_oedema"] is True
    found = notes(curated, "label_contradiction")
    assert [(path[-6:], row, action) for path, row, action, _ in found] == [
        ("00.png", None, "noted"),
        ("01.png", None, "noted"),
    ]
    details = curated.rejects.loc[curated.rejects["reason"] == "label_contradiction", "detail"].tolist()
    assert details[0].startswith("haemorrhage: there by boxes and masks, not there by row 1 of labels.csv")
    assert details[1].startswith("perihaematomal_oedema: not there by boxes and masks, there by row 2")


def test_rows_without_image_and_images_without_row_are_noted(three):
    curated = curate_with(three, "image,IPH,oedema\n0001_00,1,1\n0009_00,1,1\n,1,0\n,,\n0001_01,,\n")
    assert notes(curated, "row_without_image", "image_not_in_label_table", "image_missing") == [
        ("SubdatasetC_PNG/set/image1/0001_02.png", None, "noted", "image_not_in_label_table"),
        ("labels.csv", 1, "noted", "row_without_image"),
        ("labels.csv", 2, "refused", "image_missing"),
    ]


def test_the_table_is_a_file_of_the_flow(three):
    curated = curate_with(three, "image,IPH,oedema\n0001_00,1,1\n")
    assert ("labels.csv", None, "noted", "label_table") in rejects_of(curated)
    files = make_manifest(three.path)
    flow = count_flow(files, curated, three.path)
    assert flow["files"] == len(files)
    assert flow["other"] == 1
    assert flow["noted_by_reason"]["image_not_in_label_table"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,IPH,oedema\na,1,1\n", "found the columns name, IPH, oedema; expected a column image"),
        ("image,IPH\n0001_00,1\n", "expected a column oedema"),
        ("image,IPH,oedema\n0001_00,2,\n", "row 1, IPH: found '2'; expected 1, 0, true, false, or nothing"),
        ("image,IPH,oedema\n0001_00,1,\n0001_01,1,maybe\n", "row 2, oedema: found 'maybe'"),
        ("image,IPH,oedema\n0001_00,1,\n0001_00,0,\n", "image '0001_00' in rows 1 and 2; expected one row an image"),
        ("image,IPH,oedema\n0001_00,1,\n0001_00.png,0,\n", "0001_00.png in rows 1 and 2; expected one row an image"),
        ("", "no readable table"),
    ],
)
def test_a_bad_table_is_one_line(three, text, message):
    with pytest.raises(InputError) as error:
        curate_with(three, text)
    assert message in str(error.value)
    assert "labels.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_two_images_have_is_one_line_and_a_path_tells_them_apart(three):
    options = LabelTable.model_validate(TABLE)
    verdicts = [Verdict(Entry(path, None, None, None, None), (), {}, ()) for path in ("a/x.png", "b/x.png", "b/y.png")]
    three.write("labels.csv", b"image,IPH,oedema\nx.png,1,\n")
    table = read_label_table(three.path, options, LABELS)
    with pytest.raises(InputError, match=r"'x\.png', which 2 images are called, such as a/x\.png and b/x\.png"):
        merge_labels(table, verdicts, options, three.path)
    three.write("labels.csv", b"image,IPH,oedema\na/x.png,1,\nb/x,0,\n")
    table = read_label_table(three.path, options, LABELS)
    merged, _ = merge_labels(table, verdicts, options, three.path)
    assert [verdict.labels.get("haemorrhage") for verdict in merged] == [True, False, None]


def test_a_class_that_the_study_does_not_have_is_one_line(three):
    with pytest.raises(InputError, match="found the class 'SAH'; expected one of haemorrhage"):
        curate_with(three, "image,SAH\n0001_00,1\n", columns={"SAH": "SAH"})


def test_the_authors_form_gives_labels_to_images_that_have_nothing_else(raw, monkeypatch):
    monkeypatch.setattr(curate_folders, "LABELS", ("haemorrhage", "perihaematomal_oedema", "IVH", "IPH", "SAH"))
    raw.write("labels.csv", b"image,IVH,IPH,SAH\n0001_00,1,0,\n")
    columns = {name: name for name in ("IVH", "IPH", "SAH")}
    curated = curate(raw, label_table={"path": "labels.csv", "columns": columns})
    assert labels_of(curated, "_00") == {
        "haemorrhage": True,
        "perihaematomal_oedema": True,
        "IVH": True,
        "IPH": False,
        "SAH": None,
    }
