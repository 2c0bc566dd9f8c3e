"""The figures of a detection set and its section of the report: numbers in their order, words as asked."""

from pathlib import Path

import pytest
from augmented_study import CLASSES, make_study
from PIL import Image

from scanline.core.files import read_json, write_json
from scanline.figures.detection_set import plot_detection_set
from scanline.figures.options import DETECTION_SET_FIGURES, RunFigureOptions
from scanline.prepare.augmented_set import augment_set
from scanline.prepare.detection_set import select_set
from scanline.prepare.offline_augmentation import augment_shard, originals_of_shard
from scanline.prepare.options import OfflineAugmentation
from scanline.prepare.set_evidence import EvidenceOptions, verify_detection_set
from scanline.prepare.set_metadata import describe_dataset
from scanline.prepare.set_statistics import describe_set
from scanline.report.detection_set import describe_detection_set, ordered
from scanline.report.options import ReportedDetectionSet, ReportedSource
from scanline.report.page import template_environment

SOURCE = ReportedSource(title="North & south", license="CC0", citation="Nobody 2020", url="https://example.org")
OPTIONS = OfflineAugmentation(factor=3)


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """Statistics and evidence of an augmented set, read back from JSON as the rules do."""
    folder = tmp_path_factory.mktemp("study")
    tables = make_study(folder).tables
    made = augment_shard(
        originals_of_shard(tables.images, tables.boxes, tables.split, 0, 1), OPTIONS, folder / "copies", 1
    )
    augmented = augment_set(tables, [made[0]], [made[1]])
    sets = [select_set(one.images, one.boxes, one.labels, one.split, CLASSES) for one in (tables, augmented)]
    previous = {"first": {"images": {"train": 20, "valid": 5}, "boxes": {"bleed": 9}}}
    statistics = describe_set({"curated": sets[0], "balanced": sets[0], "augmented": sets[1]}, previous)
    options = EvidenceOptions(targets=CLASSES, factor=3, negatives=None)
    write_json(folder / "statistics.json", statistics)
    write_json(folder / "evidence.json", verify_detection_set(sets[1], options))
    curated = select_set(tables.images, tables.boxes, tables.labels, tables.split, CLASSES, with_dropped=True)
    write_json(folder / "metadata.json", describe_dataset(sets[0], curated, tables.split))
    return tuple(read_json(folder / f"{name}.json") for name in ("statistics", "evidence", "metadata"))


def plot(statistics, folder):
    paths = [folder / f"{name}.png" for name in DETECTION_SET_FIGURES]
    plot_detection_set(statistics, RunFigureOptions(resolution_dpi=60, title="a set", phantom=True), paths)
    return paths


def test_the_figures_are_drawn_and_the_same_twice(described, tmp_path):
    first = [path.read_bytes() for path in plot(described[0], tmp_path)]
    second = [path.read_bytes() for path in plot(described[0], tmp_path)]
    assert first == second
    assert len(set(first)) == len(DETECTION_SET_FIGURES)


def test_a_set_without_copies_or_boxes_is_drawn_too(described, tmp_path):
    stages = {name: stage for name, stage in described[0]["stages"].items() if name != "augmented"}
    bare = {**described[0], "stages": stages, "examples": [], "sizes": {}, "places": {}}
    for name in CLASSES:
        bare["sizes"][name] = {"width_px": None, "height_px": None, "side_shares": [0] * 25}
        bare["places"][name] = [[0] * 32] * 32
    for path in plot(bare, tmp_path):
        with Image.open(path) as image:
            assert image.size[0] == round(5.6 * 60)


@pytest.fixture
def section(described, tmp_path):
    reported = ReportedDetectionSet(
        split="grouped",
        task="detect",
        augmentation=OPTIONS.in_words(),
        motivation="to test",
        collection="",
        limits="none",
    )
    return describe_detection_set(reported, [SOURCE], *described, plot(described[0], tmp_path))


def test_rows_stand_in_the_order_of_stages_and_subsets(section):
    rows = [(row["stage"], row["name"]) for row in section["rows"] if row["stage"]]
    stages = ("as curated", "after balancing", "after augmentation")
    assert rows == [(stage, subset) for stage in stages for subset in ("train", "val", "test")]
    sources = [row["name"] for row in section["rows"] if not row["stage"]]
    assert sources == ["north", "south"] * 9
    last = section["rows"][-3]
    assert (last["images"], last["negatives"], last["share"]) == ("8", "3", "42.9%")
    assert last["boxes"][0] == ("4", "on 4 images")


def test_volumes_and_both_counts_of_slices_stand_in_one_table(section, described):
    table, images, volumes = section["volumes"], *(described[2][name] for name in ("statistics", "volume_statistics"))
    assert [row.name for row in table.rows][-1] == "all subsets"
    for row in table.rows:
        subset = "total" if row.name == "all subsets" else row.name
        of_volumes = [volumes[subset][key] for key in ("volumes", "with_box", "without_box")]
        of_images = [images[subset][key] for key in ("images", "with_box", "of_volumes_with_box")]
        assert list(row.cells) == of_volumes + of_images
    assert "No volume, patient or file stands in two subsets." in table.caption


def test_versions_are_compared_number_by_number(section, described):
    images, boxes = described[0]["images"], described[0]["boxes"]
    assert section["previous_heads"] == [
        *(("images", name) for name in ("train", "val", "test", "valid")),
        ("boxes", "bleed"),
        ("boxes", "clot"),
    ]
    (_, ours), (name, theirs) = section["previous"]
    assert [count for count, _ in ours] == [
        *(str(images[n]) for n in ("train", "val", "test")),
        "none",
        *map(str, boxes.values()),
    ]
    assert name == "first"
    assert theirs[0] == ("20", f"{images['train'] - 20:+d} since")
    assert theirs[1] == ("none", "")
    assert theirs[4] == ("9", f"{boxes['bleed'] - 9:+d} since")


def test_the_datasheet_tells_what_is_known_and_leaves_out_the_rest(section):
    facts = dict(section["datasheet"])
    assert facts["Made for"] == "to test"
    assert "Collected" not in facts
    assert facts["Source: North & south"] == "CC0; Nobody 2020"
    assert "3 training images to each original" in facts["Augmentation"]
    assert "top-bottom" not in facts["Augmentation"]


def test_the_template_shows_all_of_it(section):
    """The part of the page between its headings, filled with this section alone."""
    text = (Path(template_environment().loader.searchpath[0]) / "study.html.j2").read_text("utf-8")
    imports = text.split("\n")[1]
    part = text[
        text.index('{% if detection_sets %}\n<section id="sets"') : text.index('{% if models %}\n<section id="models"')
    ]
    page = template_environment().from_string(f"{imports}\n{part}").render(detection_sets=[section])
    for words in (
        "no patient in two subsets",
        "after augmentation",
        "since",
        "North &amp; south",
        "Datasheet",
        "Of volumes with a box",
    ):
        assert words in page
    assert page.count("<img ") == len(DETECTION_SET_FIGURES)
    assert "{{" not in page


def test_subsets_of_others_come_last():
    assert ordered({"valid", "test", "train", "external", "val"}) == ["train", "val", "test", "external", "valid"]


def test_words_of_an_augmentation_say_what_is_on():
    words = OPTIONS.model_copy(update={"horizontal_flip": 0.0, "vertical_flip": 0.25, "file_format": "png"}).in_words()
    assert "left-right" not in words
    assert "top-bottom flip (probability 0.25)" in words
    assert "copies as PNG" in words
