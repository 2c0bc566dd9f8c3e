"""The adapter of fastMRI+'s tables: small folders, and the real knees."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from curate_folders import real_folder, rejects_of
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.acquire.manifest import make_manifest
from scanline.core.errors import InputError
from scanline.curate.adapters.fastmri_plus import Options, read_entries
from scanline.curate.layouts import check_layout
from scanline.curate.merge import count_flow
from scanline.curate.options import CurateOptions, CurateSource
from scanline.curate.scan import curate_source
from scanline.split import split_groups

HEADING = "file,slice,study_level,x,y,width,height,label"
LAYOUT = {"table": "knee.csv", "file_list": "list.csv", "image_size_px": [320, 320]}
CLASSES = {"Meniscus Tear": "tear", "Joint Effusion": "effusion"}
ONE, TWO, THREE = "file1000001", "file1000002", "file1000003"


def write(folder, rows, volumes=(ONE, TWO, THREE)):
    folder.mkdir(exist_ok=True)
    (folder / "knee.csv").write_text("\n".join([HEADING, *rows, ""]), "utf-8")
    (folder / "list.csv").write_text("\n".join([*volumes, ""]), "utf-8")
    return folder


def curate(folder, layout=LAYOUT, classes=CLASSES):
    options = CurateOptions(
        adapter="fastmri_plus",
        layout=layout,
        classes=classes,
        annotated_classes=tuple(dict.fromkeys(classes.values())),
        modality="MR",
    )
    source = CurateSource(folder=str(folder), labels=options.annotated_classes, curate=options)
    files = make_manifest(folder)
    curated = curate_source("knee", files, folder / "files.parquet", source)
    return curated, count_flow(files, curated, folder / "files.parquet")


def row_of(curated, image_id):
    table = curated.labels.set_index("image_id")
    return {name: None if pd.isna(table.loc[image_id, name]) else bool(table.loc[image_id, name]) for name in table}


def test_slices_with_a_box_and_volumes_without_one_are_images_without_a_file(tmp_path):
    rows = [f"{ONE},14,No,90,173,35,10,Meniscus Tear", f"{ONE},14,No,10,20,30,40,Joint Effusion"]
    curated, flow = curate(write(tmp_path / "raw", rows))
    images = curated.images.set_index("image_id")
    assert list(images.index) == [f"knee/{ONE}/014", f"knee/{TWO}/whole", f"knee/{THREE}/whole"]
    assert images["volume_id"].tolist() == [f"knee:{ONE}", f"knee:{TWO}", f"knee:{THREE}"]
    assert images["slice_index"].tolist()[0] == 14
    assert images["slice_index"].isna().tolist() == [False, True, True]
    assert images[["path", "sha256", "patient_id"]].isna().all(axis=None)
    assert row_of(curated, f"knee/{ONE}/014") == {"tear": True, "effusion": True}
    assert row_of(curated, f"knee/{TWO}/whole") == {"tear": False, "effusion": False}
    assert (flow["files"], flow["annotations"], flow["other"], flow["images_without_file"]) == (2, 1, 1, 3)


def test_boxes_are_turned_to_the_rows_of_the_hdf5_file_where_the_height_is_known(tmp_path):
    folder = write(tmp_path / "raw", [f"{ONE},14,No,90,173,35,10,Meniscus Tear"])
    curated, flow = curate(folder)
    assert curated.boxes.drop(columns=["image_id", "label"]).to_numpy().tolist() == [[90, 137, 35, 10]]
    assert (curated.images[["width", "height"]] == 320).all(axis=None)
    assert flow["noted_by_reason"] == {"boxes_turned_back": 1, "file_list": 1}


def test_boxes_stay_as_drawn_where_the_height_is_unknown(tmp_path):
    folder = write(tmp_path / "raw", [f"{ONE},14,No,90,173,35,10,Meniscus Tear"])
    curated, flow = curate(folder, LAYOUT | {"image_size_px": None})
    assert curated.boxes.drop(columns=["image_id", "label"]).to_numpy().tolist() == [[90, 173, 35, 10]]
    assert curated.images[["width", "height"]].isna().all(axis=None)
    assert flow["noted_by_reason"] == {"boxes_upside_down": 1, "file_list": 1}


@pytest.mark.parametrize(
    ("drawn", "kept", "reason"),
    [
        ((10, -1, 30, 20), [10, 0, 30, 19], "box_clipped"),
        ((-1, 5, 30, 20), [0, 5, 29, 20], "box_clipped"),
        ((10, 300, 30, 21), [10, 300, 30, 20], "box_clipped"),
        ((10, 0, 30, 20), [10, 0, 30, 20], None),
        ((10, -2, 30, 20), None, "box_outside_image"),
        ((10, 300, 30, 22), None, "box_outside_image"),
        ((10, 20, 30, 0), None, "box_zero_area"),
        ((10, -1, 30, 1), None, "box_outside_image"),
        (("", "", "", ""), None, "box_not_a_number"),
        (("x", 1, 2, 3), None, "box_not_a_number"),
    ],
)
def test_a_box_over_the_edge_is_cut_by_one_pixel_and_no_more(tmp_path, drawn, kept, reason):
    cells = ",".join(str(value) for value in drawn)
    rows = [f"{TWO},3,No,5,5,5,5,Joint Effusion", f"{ONE},14,No,{cells},Meniscus Tear"]
    curated, _ = curate(write(tmp_path / "raw", rows))
    boxes = curated.boxes[curated.boxes["label"] == "tear"].drop(columns=["image_id", "label"])
    if kept is not None:
        x, y, width, height = kept
        kept = [x, 320 - y - height, width, height]
    assert boxes.to_numpy().tolist() == ([] if kept is None else [kept])
    found = [(row, action, why) for _, row, action, why in rejects_of(curated) if action != "noted"]
    action = "repaired" if kept is not None else "refused"
    assert found == ([] if reason is None else [(1, action, reason)])
    assert row_of(curated, f"knee/{ONE}/014")["tear"] is (None if kept is None else True)


def test_rows_that_tell_of_no_box_are_refused_with_their_row_and_nothing_else_is_lost(tmp_path):
    rows = [
        f"{ONE},14,No,90,173,35,10,Meniscus Tear",
        f"{ONE},0,Yes,,,,,artifact",
        f"{ONE},14,No,90,173,35,10,Meniscus Tear",
        f"{TWO},0,Yes,,,,,artifact",
        "",
        f"{ONE},a,No,1,2,3,4,Meniscus Tear",
        f"{ONE},5,Maybe,1,2,3,4,Meniscus Tear",
        f"{ONE},5,No,1,2,3,4, ",
        "volume,5,No,1,2,3,4,Meniscus Tear",
        f"{ONE},5,No,1,2",
        f"{THREE},7,No,1,2,3,4,Joint Effusion ",
    ]
    curated, flow = curate(write(tmp_path / "raw", rows, [ONE, TWO, ONE, "Knee data"]))
    found = [(path, row, why) for path, row, action, why in rejects_of(curated) if action != "noted" or row is not None]
    assert found == [
        ("knee.csv", 1, "study_level"),
        ("knee.csv", 2, "duplicate_row"),
        ("knee.csv", 3, "study_level"),
        ("knee.csv", 5, "slice_not_a_number"),
        ("knee.csv", 6, "study_level_unknown"),
        ("knee.csv", 7, "label_missing"),
        ("knee.csv", 8, "not_a_volume"),
        ("knee.csv", 9, "row_incomplete"),
        ("knee.csv", 10, "volume_not_listed"),
        ("knee.csv", 10, "label_spaces"),
        ("list.csv", 2, "duplicate_volume"),
        ("list.csv", 3, "not_a_volume"),
    ]
    assert flow["boxes"] == 2
    assert curated.images["image_id"].tolist() == [f"knee/{ONE}/014", f"knee/{TWO}/whole", f"knee/{THREE}/007"]


def test_a_label_of_no_class_is_one_line(tmp_path):
    folder = write(tmp_path / "raw", [f"{ONE},14,No,90,173,35,10,Tear"])
    with pytest.raises(InputError, match=r"knee\.csv: found the class 'Tear'; expected one of 'Joint Effusion'"):
        curate(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "list.csv").unlink(), "list.csv: found no such file"),
        (lambda folder: (folder / "knee.csv").write_text("file,slice\n"), "expected a column study_level"),
        (lambda folder: (folder / "knee.csv").write_text(""), "found the columns (none)"),
        (lambda folder: (folder / "knee.csv").write_bytes(b"\xff\xfe"), "no readable table"),
        (lambda folder: write(folder, [], ["Knee data"]), "list.csv: found no volume"),
    ],
)
def test_bad_files_are_one_line(tmp_path, change, message):
    folder = write(tmp_path / "raw", [])
    change(folder)
    with pytest.raises(InputError) as error:
        curate(folder)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size_px": [320, 0]}, "layout: image_size_px.1: found 0"),
        ({"volume": "(file"}, "layout: volume: found .*a regular expression"),
        ({"clip": 1}, "layout: clip: found an unknown key; .*Did you mean 'clip_px'"),
        ({"clip_px": -1}, "layout: clip_px: found -1"),
    ],
)
def test_a_wrong_layout_is_one_line(change, message):
    options = CurateOptions(adapter="fastmri_plus", layout=LAYOUT | change, classes={}, annotated_classes=())
    with pytest.raises(InputError, match=message):
        check_layout(options, "x")


def test_the_adapter_is_light():
    code = (
        "import sys; from scanline.curate.layouts import load_adapter; load_adapter('fastmri_plus');"
        "heavy = {'pandas', 'numpy', 'torch', 'PIL'} & sys.modules.keys(); assert not heavy, heavy"
    )
    scripts = Path(__file__).parents[2] / "workflow/scripts"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=scripts)


cells = st.tuples(
    st.sampled_from([ONE, TWO, "other"]),
    st.sampled_from(["1", "2", "", "x"]),
    st.sampled_from(["No", "No", "Yes", ""]),
    *[st.sampled_from(["-1", "0", "3", "50", "319", ""])] * 4,
    st.sampled_from(["Meniscus Tear", "Joint Effusion "]),
)


@given(st.lists(cells, max_size=12), st.lists(st.sampled_from([ONE, TWO, THREE]), max_size=4))
@settings(deadline=None, max_examples=60)
def test_every_row_is_a_box_or_refused(tmp_path_factory, rows, volumes):
    folder = write(tmp_path_factory.mktemp("rows"), [",".join(row) for row in rows], [THREE, *volumes])
    entries, rejects, others = read_entries(folder, ["knee.csv", "list.csv"], Options.model_validate(LAYOUT))
    refused = [one.row for one in rejects if one.action == "refused" and one.path == "knee.csv"]
    boxes = [box.row for entry in entries for box in entry.boxes or ()]
    assert sorted([*refused, *boxes]) == list(range(len(rows)))
    assert others == []
    seen = {row[0] for row in rows if row[0] != "other"} | {THREE, *volumes}
    assert {entry.volume_id for entry in entries} == seen
    assert len({entry.path for entry in entries}) == len(entries)


@pytest.fixture(scope="module")
def knees():
    folder = real_folder("fastmri_plus")
    names = sorted({name.strip() for name in pd.read_csv(folder / "knee.csv")["label"]} - {"artifact"})
    layout = LAYOUT | {"file_list": "knee_file_list.csv"}
    curated, flow = curate(folder, layout, {name: name for name in names})
    return curated, flow


def test_every_row_of_the_real_table_arrives(knees):
    curated, flow = knees
    assert flow["boxes"] == 16_148
    assert flow["refused_rows_by_reason"] == {
        "box_zero_area": 1,
        "duplicate_row": 5,
        "not_a_volume": 1,  # the last line of the file list, "Knee data"
        "study_level": 13,
    }
    of_table = curated.rejects[curated.rejects["path"] == "knee.csv"]
    assert flow["boxes"] + (of_table["action"] == "refused").sum() == 16_167
    assert flow["repaired_by_reason"] == {"box_clipped": 6, "label_spaces": 1_311}
    assert flow["noted_by_reason"] == {"boxes_turned_back": 1, "file_list": 1}
    assert (flow["files"], flow["annotations"], flow["other"], flow["images"]) == (2, 1, 1, 0)


def test_every_real_volume_is_kept(knees):
    images = knees[0].images
    assert (len(images), images["volume_id"].nunique()) == (9_784, 1_172)
    wholes = images[images["slice_index"].isna()]
    assert (len(wholes), wholes["volume_id"].nunique()) == (203, 203)
    assert (~wholes["volume_id"].isin(images.loc[images["slice_index"].notna(), "volume_id"])).all()


def test_the_real_tears_are_counted(knees):
    curated, flow = knees
    tears = curated.boxes[curated.boxes["label"] == "Meniscus Tear"]
    volume = curated.images.set_index("image_id")["volume_id"]
    assert len(tears) == 5_658 - 5
    assert tears["image_id"].nunique() == flow["labels"]["Meniscus Tear"]["positive"] == 4_858
    assert volume[tears["image_id"]].nunique() == 663
    assert flow["labels"]["Cartilage - Partial Thickness loss/defect"]["unknown"] == 1


def test_real_boxes_lie_inside_and_the_six_over_the_edge_end_at_it(knees):
    boxes = knees[0].boxes
    assert (boxes["y"] >= 0).all()
    assert (boxes["y"] + boxes["height"] <= 320).all()
    clipped = knees[0].rejects.query("reason == 'box_clipped'")
    assert clipped["row"].tolist() == [6974, 7890, 10550, 11806, 14671, 16019]
    effusions = boxes[(boxes["label"] == "Joint Effusion") & (boxes["y"] + boxes["height"] == 320)]
    assert len(effusions) >= 6


def test_real_volumes_are_split_by_tear(knees):
    curated, _ = knees
    table = curated.images[["image_id", "volume_id"]].merge(curated.labels[["image_id", "Meniscus Tear"]])
    shares = {"train": 0.70, "val": 0.15, "test": 0.15}
    subset = split_groups(table, group="volume_id", ratios=shares, labels=["Meniscus Tear"], seed=42)
    assert subset.groupby(table["volume_id"]).nunique().max() == 1
    torn = table["Meniscus Tear"].astype(bool)
    for name, share in shares.items():
        assert abs((subset == name).sum() - share * 9_784) < 1
        assert abs((torn & (subset == name)).sum() - share * 4_858) < 1
        volumes = table.loc[torn & (subset == name), "volume_id"].nunique()
        assert abs(volumes - share * 663) < 1
