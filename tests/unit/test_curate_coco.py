"""COCO files: each row of theirs is kept, or stands in the rejects with its reason."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_folders import coco, curated, reasons, truth, write, write_pictures

from scanline.core.errors import InputError
from scanline.curate.coco import read_coco

LAYOUT = {"annotations": "boxes.json", "images": "png", "name": r"(?P<patient>\d+)_(?P<slice>\d+)"}
BOX = [5, 4, 10, 8]


@pytest.fixture
def folder(tmp_path):
    write_pictures(tmp_path / "raw/png", "1_0.png", "1_1.png", "2_0.png")
    return tmp_path / "raw"


def curate(folder, images=("1_0.png", "1_1.png", "2_0.png"), boxes=((0, 1, BOX),), layout=None, parts=None, **changes):
    write(folder / "boxes.json", coco(list(images), list(boxes), **(parts or {})))
    return curated(folder, "coco", layout or LAYOUT, **changes)


def test_images_boxes_and_names_become_rows(folder):
    tables, flow = curate(folder, boxes=[(0, 1, BOX), (0, 2, [1.5, 2, 3, 4.25]), (2, 3, BOX)])
    images = tables.images.set_index("image_id")
    assert list(images.index) == ["src/png/1_0", "src/png/1_1", "src/png/2_0"]
    assert list(images["patient_id"]) == ["src:1", "src:1", "src:2"]
    assert list(images["slice_index"]) == [0, 1, 0]
    assert tables.boxes.to_numpy().tolist() == [
        ["src/png/1_0", "iph", 5, 4, 10, 8],
        ["src/png/1_0", "sah", 1.5, 2, 3, 4.25],
        ["src/png/2_0", "edh", 5, 4, 10, 8],
    ]
    assert truth(tables, "png/1_0") == {"iph": True, "sah": True, "edh": False}
    assert truth(tables, "png/1_1") == {"iph": False, "sah": False, "edh": False}  # listed without a box: looked at
    assert (flow["files"], flow["images"], flow["annotations"], flow["refused"]) == (4, 3, 1, 0)
    assert tables.rejects.empty


def test_a_class_that_was_not_looked_for_is_unknown_also_where_there_is_no_box(folder):
    tables, _ = curate(folder, annotated_classes=("iph", "sah"))
    assert truth(tables, "png/1_0") == {"iph": True, "sah": False, "edh": None}
    assert truth(tables, "png/2_0") == {"iph": False, "sah": False, "edh": None}


DEFECTS = {
    "missing file": ({"images": ["1_0.png", "gone_1.png"], "boxes": [(0, 1, BOX), (1, 1, BOX)]}, 2,
                     {"image_file_missing": 1, "box_of_missing_image": 1, "image_not_in_annotations": 2}),
    "file in the folder alone": ({"images": ["1_0.png", "1_1.png"]}, 1, {"image_not_in_annotations": 1}),
    "box over the edge": ({"boxes": [(0, 1, BOX), (1, 1, [35, 4, 10, 8])]}, 2, {"box_outside_image": 1}),
    "box without height": ({"boxes": [(0, 1, BOX), (1, 1, [5, 4, 10, 0])]}, 2, {"box_zero_area": 1}),
    "inverted box": ({"boxes": [(0, 1, BOX), (1, 1, [5, 4, -3, 8])]}, 2, {"box_inverted": 1}),
    "box of text": ({"boxes": [(0, 1, BOX), (1, 1, ["5", 4, 10, 8])]}, 2, {"box_not_a_number": 1}),
    "box of three numbers": ({"boxes": [(0, 1, BOX), (1, 1, [5, 4, 10])]}, 2, {"box_not_a_number": 1}),
    "endless box": ({"boxes": [(0, 1, BOX), (1, 1, [5, 4, 10**400, 8])]}, 2, {"box_not_a_number": 1}),
    "no box": ({"boxes": [(0, 1, BOX), {"id": 9, "image_id": 1, "category_id": 1}]}, 2, {"box_not_a_number": 1}),
    "equal boxes": ({"boxes": [(0, 1, BOX), (0, 1, BOX)]}, 2, {"duplicate_box": 1}),
    "unknown image": ({"boxes": [(0, 1, BOX), (7, 1, BOX)]}, 2, {"box_of_unknown_image": 1}),
    "unknown category": ({"boxes": [(0, 1, BOX), (1, 7, BOX)]}, 2, {"box_of_unknown_category": 1}),
    "annotation without image": ({"boxes": [(0, 1, BOX), {"id": 1, "category_id": 1}, 5]}, 3,
                                 {"annotation_incomplete": 2}),
    "crowd": ({"boxes": [(0, 1, BOX), {"id": 1, "image_id": 1, "category_id": 1, "bbox": BOX, "iscrowd": 1}]}, 2,
              {"box_is_crowd": 1}),
    "image listed twice": ({"images": [{"id": 0, "file_name": "1_0.png"}] * 2 + ["1_1.png", "2_0.png"]}, 1,
                           {"duplicate_image_row": 1}),
    "image without a name": ({"images": ["1_0.png", "1_1.png", "2_0.png", {"id": 3}, 4]}, 1,
                             {"image_row_incomplete": 2}),
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_counted_and_the_rest_stays(folder, defect):
    changes, n_boxes, expected = DEFECTS[defect]
    tables, flow = curate(folder, **changes)
    assert reasons(tables) == expected
    assert set(tables.rejects["action"]) == {"refused"}
    kept = len(tables.boxes)
    refused = tables.rejects["reason"].str.startswith(("box_", "duplicate_box", "annotation_")).sum()
    assert kept + refused == n_boxes
    assert kept == 1
    assert flow["files"] == flow["images"] + flow["annotations"] + flow["refused"]


@pytest.mark.parametrize("defect", ["box over the edge", "unknown category", "crowd"])
def test_after_a_refused_box_the_image_is_no_negative(folder, defect):
    tables, _ = curate(folder, **DEFECTS[defect][0])
    found = truth(tables, "png/1_1")
    assert found["iph"] is None
    assert found["sah"] == (None if defect == "unknown category" else False)


def test_one_id_of_two_files_refuses_both_with_their_boxes(folder):
    images = [{"id": 0, "file_name": "1_0.png"}, {"id": 0, "file_name": "1_1.png"}, {"id": 1, "file_name": "2_0.png"}]
    tables, _ = curate(folder, images=images, boxes=[(0, 1, BOX), (1, 1, BOX)])
    assert list(tables.images["image_id"]) == ["src/png/2_0"]
    expected = {"image_id_twice": 2, "box_of_missing_image": 1, "image_not_in_annotations": 2}
    assert reasons(tables) == expected


def test_two_ids_of_one_file_are_one_image_with_the_boxes_of_both(folder):
    images = [{"id": 0, "file_name": "1_0.png"}, {"id": 1, "file_name": "1_0.png"}]
    tables, _ = curate(folder, images=images, boxes=[(0, 1, BOX), (1, 2, BOX), (1, 1, BOX)])
    assert sorted(tables.boxes["label"]) == ["iph", "sah"]
    assert reasons(tables)["duplicate_box"] == 1


def test_equal_ids_of_boxes_are_noted_and_both_stay(folder):
    row = {"id": 3, "image_id": 0, "category_id": 1, "bbox": BOX}
    tables, _ = curate(folder, boxes=[row, {**row, "bbox": [1, 1, 2, 2]}])
    assert len(tables.boxes) == 2
    assert reasons(tables) == {"annotation_id_twice": 2}


def test_a_box_over_the_edge_by_what_the_source_allows_is_cut(folder):
    boxes = [(0, 1, [-2, 4, 10, 8]), (1, 1, [35, 25, 7, 9]), (2, 1, [-2.5, 4, 10, 8])]
    tables, flow = curate(folder, boxes=boxes, box_clip_px=2)
    assert tables.boxes.drop(columns="label").to_numpy().tolist() == [
        ["src/png/1_0", 0, 4, 8, 8],
        ["src/png/1_1", 35, 25, 5, 7],
    ]
    assert flow["repaired_by_reason"] == {"box_clipped": 2}
    assert flow["refused_rows_by_reason"] == {"box_outside_image": 1}


def test_a_size_that_differs_from_the_files_refuses_the_image_and_its_boxes(folder):
    images = ["1_0.png", {"id": 1, "file_name": "1_1.png", "width": 80, "height": 64}, "2_0.png"]
    tables, _ = curate(folder, images=images, boxes=[(0, 1, BOX), (1, 1, BOX)])
    assert reasons(tables) == {"size_differs": 1, "image_refused": 1}
    assert tables.rejects.set_index("reason").loc["image_refused", "row"] == 1


def test_an_unmapped_class_is_an_error_with_name_and_file(folder):
    with pytest.raises(InputError) as caught:
        curate(folder, parts={"classes": ("Bleed",)})
    assert str(caught.value) == (
        f"{folder}/boxes.json: found the class 'Bleed'; expected one of 'EDH', 'IPH', 'SAH'. Add it to"
        " sources.src.curate.classes in the study file, or to ignored_classes there."
    )


def test_an_ignored_class_is_counted_and_tells_nothing(folder):
    tables, flow = curate(folder, parts={"classes": ("Bleed", "IPH")}, ignored_classes=["Bleed"])
    assert flow["refused_rows_by_reason"] == {"class_ignored": 1}
    assert truth(tables, "png/1_0") == {"iph": False, "sah": False, "edh": False}


def test_names_that_do_not_match_are_an_error_with_three_examples(folder):
    layout = {**LAYOUT, "name": r"(?P<patient>P\d+)_\d+"}
    with pytest.raises(InputError) as caught:
        curate(folder, layout=layout)
    assert "layout.name: found 3 of 3 image names that do not match, such as '1_0', '1_1', '2_0'" in str(caught.value)


def test_without_a_pattern_nobody_is_known(folder):
    tables, _ = curate(folder, layout={**LAYOUT, "name": None})
    assert tables.images["patient_id"].isna().all()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "no JSON"),
        ("[1]", "no list 'images'"),
        ('{"images": [], "annotations": {}}', "no list 'annotations'"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1}]}', "a category without id or name"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "category 1 named 'a' and 'b'",
        ),
        ('{"images": [], "annotations": [], "categories": []}', "none of the images that boxes.json lists"),
    ],
)
def test_what_is_no_coco_file_is_one_line(folder, content, found):
    write(folder / "boxes.json", content)
    with pytest.raises(InputError, match=found) as caught:
        curated(folder, "coco", LAYOUT)
    assert "\n" not in str(caught.value)


def test_a_missing_json_is_one_line(folder):
    with pytest.raises(InputError, match=r"expected the COCO file that layout\.annotations names"):
        curated(folder, "coco", LAYOUT)


def test_files_beside_the_image_folder_are_no_part_of_the_layout(folder):
    write(folder / "readme.txt", "words")
    write(folder / "png/notes.txt", "words")
    tables, _ = curate(folder)
    assert reasons(tables) == {"not_in_layout": 2}


scalars = st.none() | st.booleans() | st.integers(-3, 4) | st.floats() | st.sampled_from(["1_0.png", "x", ""])
rows = st.dictionaries(st.sampled_from(["id", "file_name", "image_id", "category_id", "bbox", "iscrowd"]),
                       scalars | st.lists(scalars, max_size=5), max_size=6)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(images=st.lists(rows | scalars, max_size=5), boxes=st.lists(rows | scalars, max_size=8))
def test_every_annotation_of_any_file_is_a_box_or_a_reject(tmp_path, images, boxes):
    document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "IPH"}]}
    write(tmp_path / "boxes.json", json.dumps(document))
    read = read_coco(tmp_path, "boxes.json", "", ["1_0.png"])
    kept = [box.row for image in read.images.values() for box in image.boxes]
    refused = [reject.row for reject in read.rejects if reject.action == "refused" and "annotations[" in reject.detail]
    own = [row for row in refused if row is not None]
    assert sorted([*kept, *own]) == list(range(len(boxes)))
    assert set(read.images) <= {"1_0.png"}
