import subprocess
import sys
from pathlib import Path

import pytest
from curate_folders import (
    OPTIONS,
    RawFolder,
    curate,
    image_bytes,
    labels_of,
    raw_folder,  # noqa: F401
    rejects_of,
    textured_pixels,
    voc_xml,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.core.errors import InputError
from scanline.core.options import check_options
from scanline.curate.adapters.pascal_voc import Options, read_entries
from scanline.curate.entries import Box
from scanline.curate.judge import box_problem
from scanline.curate.layouts import adapter_module, adapter_names, check_layout
from scanline.curate.options import CurateOptions

LAYOUT = OPTIONS["layout"]
BOX = (5, 4, 9, 9)


def test_a_short_name_is_read_as_its_patient_and_counted_as_repaired(raw):
    raw.add(13, 7, annotation=None)
    path = raw.write("SubdatasetC_PNG/annotation/annotation13/013_07.xml", voc_xml([BOX]))
    curated = curate(raw)
    assert (path, None, "repaired", "name_digits") in rejects_of(curated)
    assert labels_of(curated, "0013_07")["haemorrhage"] is True


def test_a_missing_size_is_read_from_the_image(raw):
    curated = curate(raw.add(1, 1, annotation=voc_xml([], size=None)))
    assert rejects_of(curated) == [(raw.annotation_path(1, 1), None, "repaired", "size_missing")]
    assert curated.images["width"].tolist() == [40, 40]


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (b"<annotation><object>", "annotation_unreadable"),
        (b"", "annotation_unreadable"),
        (b"\xff\xfe\x00", "annotation_unreadable"),
        (b"<?xml version='1.0' encoding='klingon'?><annotation/>", "annotation_unreadable"),
        (b"<html></html>", "annotation_not_pascal_voc"),
        (b"<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>&b;</annotation>", "annotation_unsafe"),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><annotation/>", "annotation_unsafe"),
        (b"<annotation><object><bndbox/></object></annotation>", "annotation_incomplete"),
        (b"<annotation><object><name>a</name></object></annotation>", "annotation_incomplete"),
        (voc_xml([BOX], size=("wide", 32)), "annotation_incomplete"),
    ],
)
def test_a_bad_annotation_is_refused_and_the_image_kept_with_unknown_labels(raw, xml, reason):
    curated = curate(raw.add(2, 5, annotation=xml))
    rejects = rejects_of(curated)
    assert (raw.annotation_path(2, 5), None, "refused", reason) in rejects
    assert (raw.image_path(2, 5), None, "noted", "not_annotated") in rejects
    assert len(rejects) == 2
    assert labels_of(curated, "0002_05") == {"haemorrhage": None, "perihaematomal_oedema": False}


@pytest.mark.parametrize("kind", ["annotation", "mask"])
def test_a_file_without_its_image_is_refused(raw, kind):
    raw.add(2, 5, image=None, **{("mask" if kind == "annotation" else "annotation"): None})
    path = getattr(raw, f"{kind}_path")(2, 5)
    assert rejects_of(curate(raw)) == [(path, None, "refused", f"{kind}_without_image")]


def test_a_name_of_another_patient_is_refused(raw):
    path = raw.write("SubdatasetC_PNG/set/image2/0003_00.png", image_bytes(textured_pixels()))
    assert rejects_of(curate(raw)) == [(path, None, "refused", "name_mismatch")]


def test_two_files_for_one_slice_are_both_refused(raw):
    raw.add(2, 5)
    paths = [raw.image_path(2, 5), raw.image_path(2, 5).replace(".png", ".jpg")]
    raw.write(paths[1], image_bytes(textured_pixels()))
    refused = {path: reason for path, _, action, reason in rejects_of(curate(raw)) if action == "refused"}
    assert [refused[path] for path in paths] == ["duplicate_image"] * 2
    assert refused[raw.annotation_path(2, 5)] == "annotation_without_image"
    assert refused[raw.mask_path(2, 5)] == "mask_without_image"


def test_two_annotations_for_one_slice_leave_it_unknown(raw):
    raw.add(2, 5, boxes=[BOX])
    raw.write(raw.annotation_path(2, 5).replace("0002", "002"), voc_xml())
    curated = curate(raw)
    assert [reason for _, _, action, reason in rejects_of(curated) if action == "refused"] == [
        "duplicate_annotation"
    ] * 2
    assert labels_of(curated, "0002_05")["haemorrhage"] is None


def test_pixels_that_count_from_1_start_at_0_and_include_the_last(raw):
    curated = curate(raw.add(1, 0, boxes=[(1, 1, 40, 32)]), layout=LAYOUT | {"first_pixel": 1})
    assert curated.boxes[["x", "y", "width", "height"]].iloc[0].tolist() == [0, 0, 40, 32]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"image": "("}, "image"),
        ({"image": "no groups"}, "image"),
        ({"mask": r"(?P<patient>\d+)_(?P<slice>\d+)"}, "name_digits"),
        ({"first_pixel": 2}, "first_pixel"),
        ({"picture": "x"}, "picture"),
    ],
)
def test_a_wrong_layout_is_one_line_with_its_key(change, key):
    options = CurateOptions.model_validate(OPTIONS | {"layout": LAYOUT | change})
    with pytest.raises(InputError) as error:
        check_layout(options, "study.yaml: sources.x.curate")
    assert str(error.value).startswith("study.yaml: sources.x.curate.layout")
    assert key in str(error.value)


def test_an_unknown_adapter_is_told_the_known_ones():
    assert "pascal_voc" in adapter_names()
    assert adapter_module("pascal_voc") == "scanline.curate.adapters.pascal_voc"
    with pytest.raises(InputError, match=r"one of .*pascal_voc.*Did you mean 'pascal_voc'"):
        check_layout(CurateOptions.model_validate(OPTIONS | {"adapter": "pascal_vok"}), "x")


def test_adapters_are_found_without_heavy_imports():
    code = (
        "import sys; from scanline.curate.layouts import load_adapter; load_adapter('pascal_voc');"
        "heavy = {'pandas', 'numpy', 'torch', 'PIL'} & sys.modules.keys(); assert not heavy, heavy"
    )
    scripts = Path(__file__).parents[2] / "workflow/scripts"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=scripts)


names = st.tuples(
    st.integers(0, 30), st.integers(0, 3), st.integers(1, 6), st.sampled_from(["image", "annotation", "mask"])
)


@given(st.lists(names, unique=True, max_size=30))
@settings(deadline=None, max_examples=60)
def test_whatever_the_names_each_file_stands_in_one_place_and_joins_its_slice(tmp_path_factory, drawn):
    folder = RawFolder(tmp_path_factory.mktemp("names"))
    tree = {"image": "set/image", "annotation": "annotation/annotation", "mask": "label/label"}
    files = {folder.image_path(99, 0): ("image", 99, 0)}
    for patient, index, digits, kind in drawn:
        suffix = "xml" if kind == "annotation" else "png"
        path = f"SubdatasetC_PNG/{tree[kind]}{patient}/{patient:0{digits}d}_{index:02d}.{suffix}"
        files[path] = (kind, patient, index)
        if kind == "annotation":
            folder.write(path, voc_xml([(patient, index, 40, 32)]))
    entries, rejects, others = read_entries(folder.path, sorted(files), check_options(Options, LAYOUT, "layout"))
    used = [p for e in entries for p in (e.path, e.annotation_path, e.mask_path) if p is not None]
    refused = [reject.path for reject in rejects if reject.action == "refused"]
    assert sorted([*used, *refused, *others]) == sorted(files)
    repaired = {reject.path for reject in rejects if reject.reason == "name_digits"}
    assert repaired == {path for path in files if len(path.rsplit("/", 1)[1].split("_")[0]) != 4}
    for entry in entries:
        assert files[entry.path][1:] == (int(entry.patient_id), entry.slice_index)
        for path in (entry.annotation_path, entry.mask_path):
            assert path is None or files[path][1:] == files[entry.path][1:]
        if entry.boxes:
            assert (entry.boxes[0].x, entry.boxes[0].y) == files[entry.path][1:]


sides = st.integers(-3, 13)


@given(sides, sides, sides, sides)
def test_a_box_holds_exactly_where_it_covers_pixels_of_the_image_alone(x0, y0, x1, y1):
    holds = 0 <= x0 < x1 <= 10 and 0 <= y0 < y1 <= 8
    assert (box_problem(Box("a", x0, y0, x1 - x0, y1 - y0), (10, 8)) is None) == holds


@given(st.floats(), st.floats(), st.floats(), st.floats())
def test_no_float_gets_a_box_over_the_edge(x, y, width, height):
    if box_problem(Box("a", x, y, width, height), (10, 8)) is None:
        assert -1e-6 <= x < 10
        assert -1e-6 <= y < 8
        assert 0 < width <= 10.00001
        assert 0 < height <= 8.00001
