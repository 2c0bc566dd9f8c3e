import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pandas as pd
import pytest
from curate_folders import (
    LABELS,
    OPTIONS,
    REPOSITORY,
    RawFolder,
    curate,
    image_bytes,
    labels_of,
    mask_bytes,
    raw_folder,  # noqa: F401
    rejects_of,
    textured_pixels,
    voc_xml,
)
from PIL import Image

from scanline.acquire.manifest import make_manifest
from scanline.core.errors import InputError
from scanline.core.images import ImageError, decode_image
from scanline.core.tables import THUMBNAILS, read_table, write_table
from scanline.curate.file_scan import ScanShard, join_shards, scan_shard
from scanline.curate.inspection import inspect_image
from scanline.curate.merge import count_flow, merge_sources
from scanline.curate.phash import perceptual_hash
from scanline.curate.thumbnails import make_thumbnail

HAEMORRHAGE, OEDEMA = LABELS
BOX = (5, 4, 9, 9)


def flow_of(raw, curated):
    return count_flow(make_manifest(raw.path), curated, raw.path / "files.parquet")


def test_a_good_slice_becomes_rows_of_all_tables(raw):
    curated = curate(raw)
    image = curated.images.iloc[0]
    assert image["image_id"] == "src/SubdatasetC_PNG/set/image1/0001_00"
    assert (image["patient_id"], image["volume_id"], image["slice_index"]) == ("src:1", "src:1", 0)
    assert (image["width"], image["height"], image["modality"]) == (40, 32, "CT")
    assert image["path"] == f"{raw.path}/{raw.image_path(1, 0)}"
    assert image["mask_path"] == f"{raw.path}/{raw.mask_path(1, 0)}"
    assert len(image["phash"]) == 16
    assert curated.boxes.iloc[0].to_list()[1:] == [HAEMORRHAGE, 5, 4, 4, 5]
    assert labels_of(curated, "0001_00") == {HAEMORRHAGE: True, OEDEMA: True}
    assert curated.rejects.empty


def test_looked_at_without_a_box_is_negative_and_never_annotated_is_unknown(raw):
    curated = curate(raw.add(1, 1).add(1, 2, annotation=None, mask=None))
    assert labels_of(curated, "0001_01") == {HAEMORRHAGE: False, OEDEMA: False}
    assert labels_of(curated, "0001_02") == {HAEMORRHAGE: None, OEDEMA: None}
    assert rejects_of(curated) == [(raw.image_path(1, 2), None, "noted", "not_annotated")]


def test_classes_that_nobody_looked_for_are_unknown(raw):
    curated = curate(raw, annotated_classes=(), mask_class=None)
    assert labels_of(curated, "0001_00") == {HAEMORRHAGE: None, OEDEMA: None}


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((30, 4, 41, 9), "box_outside_image"),
        ((-1, 4, 9, 9), "box_outside_image"),
        ((5, 30, 9, 33), "box_outside_image"),
        ((5, 4, 5, 9), "box_zero_area"),
        ((9, 4, 5, 9), "box_inverted"),
        (("five", 4, 9, 9), "box_not_a_number"),
        (("inf", 4, 9, 9), "box_not_a_number"),
        (("", 4, 9, 9), "box_not_a_number"),
    ],
)
def test_a_bad_box_is_refused_and_its_class_is_unknown_not_negative(raw, box, reason):
    curated = curate(raw.add(1, 1, annotation=voc_xml([box])))
    assert rejects_of(curated) == [(raw.annotation_path(1, 1), 0, "refused", reason)]
    assert labels_of(curated, "0001_01")[HAEMORRHAGE] is None
    assert HAEMORRHAGE in curated.rejects["detail"].iloc[0]
    assert len(curated.boxes) == 1
    assert flow_of(raw, curated)["refused"] == 0
    assert flow_of(raw, curated)["refused_rows_by_reason"] == {reason: 1}


def test_a_good_box_beside_a_bad_one_makes_the_class_true(raw):
    curated = curate(raw.add(1, 1, annotation=voc_xml([(9, 4, 5, 9), BOX]), mask=mask_bytes(True)))
    assert labels_of(curated, "0001_01")[HAEMORRHAGE] is True
    assert len(curated.boxes) == 2


def test_a_box_that_fills_the_image_holds(raw):
    curated = curate(raw.add(1, 1, boxes=[(0, 0, 40, 32)]))
    assert curated.rejects.empty


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (image_bytes(textured_pixels())[:-30], "image_unreadable"),
        (image_bytes(textured_pixels(), "JPEG")[:-30], "image_unreadable"),
        (b"", "image_unreadable"),
        (b"not an image", "image_unreadable"),
        (image_bytes(textured_pixels().astype(np.uint16) * 200), "image_unreadable"),
        (image_bytes(textured_pixels()[:, :30]), "size_differs"),
    ],
    ids=["cut_png", "cut_jpeg", "nothing", "text", "16_bits", "other_size"],
)
def test_a_bad_image_is_refused_with_its_annotation_and_mask(raw, image, reason):
    curated = curate(raw.add(2, 5, image=image, boxes=[BOX]))
    assert rejects_of(curated) == [
        (raw.annotation_path(2, 5), None, "refused", "image_refused"),
        (raw.mask_path(2, 5), None, "refused", "image_refused"),
        (raw.image_path(2, 5), None, "refused", reason),
    ]
    assert len(curated.images) == 1
    flow = flow_of(raw, curated)
    assert (flow["files"], flow["refused"], flow["images"]) == (6, 3, 1)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (image_bytes(np.zeros((32, 41), np.uint8)), "mask_size_differs"),
        (mask_bytes(True)[:-20], "mask_unreadable"),
        (b"\x89PNG", "mask_unreadable"),
    ],
    ids=["other_size", "cut", "four_bytes"],
)
def test_a_bad_mask_is_refused_and_the_image_kept_with_an_unknown_mask(raw, mask, reason):
    curated = curate(raw.add(2, 5, boxes=[BOX], mask=mask))
    assert rejects_of(curated) == [(raw.mask_path(2, 5), None, "refused", reason)]
    assert labels_of(curated, "0002_05") == {HAEMORRHAGE: True, OEDEMA: None}
    assert curated.images["mask_path"].isna().tolist() == [False, True]
    assert flow_of(raw, curated)["masks"] == 1


@pytest.mark.parametrize(("values", "noted"), [((0, 255), 0), ((0, 1), 0), ((0, 128), 1), ((0, 1, 255), 1)])
def test_a_mask_that_is_not_binary_is_noted(raw, values, noted):
    mask = np.zeros((32, 40), np.uint8)
    mask[0, : len(values)] = values
    curated = curate(raw.add(2, 5, boxes=[BOX], mask=image_bytes(mask)))
    assert [reason for *_, reason in rejects_of(curated)] == ["mask_not_binary"] * noted
    assert labels_of(curated, "0002_05")[OEDEMA] is True


@pytest.mark.parametrize(
    ("boxes", "mask", "reason"),
    [
        ([BOX], mask_bytes(False), "box_and_empty_mask"),
        ([], mask_bytes(True), "mask_without_box"),
        ([BOX], None, "box_without_mask_file"),
    ],
    ids=["empty", "no_box", "no_file"],
)
def test_box_and_mask_that_disagree_are_noted_and_kept(raw, boxes, mask, reason):
    curated = curate(raw.add(2, 5, boxes=boxes, mask=mask))
    assert rejects_of(curated) == [(raw.image_path(2, 5), None, "noted", reason)]
    expected = None if mask is None else mask != mask_bytes(False)
    assert labels_of(curated, "0002_05") == {HAEMORRHAGE: bool(boxes), OEDEMA: expected}


def test_type_is_told_by_content_not_suffix(raw):
    jpeg = image_bytes(textured_pixels(), "JPEG", quality=95)
    curated = curate(raw.add(2, 5, image=jpeg))
    assert len(curated.images) == 2
    assert curated.rejects.empty


def test_files_outside_the_layout_are_noted_and_counted(raw):
    raw.write("notes 'a' \"b\"\nc.txt", b"x")
    curated = curate(raw)
    assert rejects_of(curated) == [("notes 'a' \"b\"\nc.txt", None, "noted", "not_in_layout")]
    assert flow_of(raw, curated)["other"] == 1


def test_names_with_spaces_quotes_and_line_breaks_work(tmp_path):
    raw = RawFolder(tmp_path / 'raw\'s "folder"')
    for kind, content in (("i", image_bytes(textured_pixels())), ("a", voc_xml([BOX])), ("m", mask_bytes(True))):
        raw.write(f"{kind} 'x' \"y\"\nz/7_3 .dat", content)
    layout = {"first_pixel": 0}
    for kind in ("image", "annotation", "mask"):
        layout[kind] = kind[0] + r" .*/(?P<patient>\d+)_(?P<slice>\d+).*"
    curated = curate(raw, layout=layout)
    assert curated.images["image_id"].item() == "src/i 'x' \"y\"\nz/7_3 "
    assert labels_of(curated, "7_3 ") == {HAEMORRHAGE: True, OEDEMA: True}
    assert curated.rejects.empty


def test_images_that_differ_in_their_suffix_alone_are_refused(raw):
    layout = OPTIONS["layout"] | {"image": r"image(?P<patient>\d+)/(?P<name>\d+)_\d+\.(?P<slice>\d+)"}
    layout["annotation"] = layout["mask"] = layout["image"].replace("image", "x")
    for suffix in "12":
        raw.write(f"image3/0003_00.{suffix}", image_bytes(textured_pixels()))
    raw.write("image3/0003_01.3", image_bytes(textured_pixels()))
    curated = curate(raw, layout=layout)
    refused = [path for path, _, action, _ in rejects_of(curated) if action == "refused"]
    assert refused == ["image3/0003_00.1", "image3/0003_00.2"]
    assert len(curated.images) == 1


def test_a_class_that_is_not_mapped_stops_the_run(raw):
    raw.add(1, 1, annotation=voc_xml([BOX], label="b"))
    with pytest.raises(InputError) as error:
        curate(raw)
    assert raw.annotation_path(1, 1) in str(error.value)
    assert "'b'" in error.value.found
    assert "'a'" in error.value.expected
    assert "classes" in error.value.next_step


def flip_last_byte(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("kind", ["image", "annotation", "mask"])
@pytest.mark.parametrize(
    "change",
    [flip_last_byte, lambda file: file.unlink(), lambda file: file.write_bytes(b"")],
    ids=["flipped", "gone", "emptied"],
)
def test_a_file_that_changed_since_the_manifest_asks_for_a_rescan(raw, kind, change):
    raw.add(1, 1)
    files = make_manifest(raw.path)
    path = getattr(raw, f"{kind}_path")(1, 0)
    file = raw.path / path
    if change is flip_last_byte and kind == "annotation":
        file.write_bytes(file.read_bytes().replace(b"<xmin>5", b"<xmin>6"))
    else:
        change(file)
    with pytest.raises(InputError) as error:
        curate(raw, files)
    assert path in error.value.where
    assert "rescan: rm" in error.value.next_step
    assert "files.parquet" in error.value.next_step


def test_a_folder_of_damaged_images_alone_is_an_error(tmp_path):
    raw = RawFolder(tmp_path / "raw").add(1, 0, image=b"x")
    with pytest.raises(InputError, match="none that can be used"):
        curate(raw)


def test_a_folder_without_images_is_an_error(tmp_path):
    raw = RawFolder(tmp_path / "raw").add(1, 0, image=None)
    with pytest.raises(InputError, match="none that is an image of the layout"):
        curate(raw)


def test_tables_do_not_depend_on_the_order_of_the_manifest(raw):
    for index in range(1, 6):
        raw.add(index, index, boxes=[BOX, (30, 4, 41, 9)])
    files = make_manifest(raw.path)
    first, second = curate(raw, files), curate(raw, files.sample(frac=1, random_state=1))
    for name in ("images", "boxes", "labels", "rejects", "thumbnails"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))


def test_blank_and_nearly_uniform_images_have_no_hash_and_similar_images_close_ones(raw):
    noise = np.random.default_rng(0).normal(90, 4, (32, 40)).round().astype(np.uint8) // 90
    near = textured_pixels(100).astype(int) + 3
    raw.add(1, 1, image=image_bytes(np.zeros((32, 40), np.uint8)))
    raw.add(1, 2, image=image_bytes(noise))
    raw.add(1, 3, image=image_bytes(near.clip(0, 255).astype(np.uint8)))
    hashes = curate(raw).images["phash"]
    assert hashes.isna().tolist() == [False, True, True, False]
    assert (int(hashes[0], 16) ^ int(hashes[3], 16)).bit_count() <= 4


def test_thumbnails_are_kept_of_images_with_a_hash_and_are_what_it_was_made_from(raw):
    raw.add(1, 1, image=image_bytes(np.zeros((32, 40), np.uint8))).add(1, 2, image=b"x").add(2, 0)
    curated = curate(raw)
    informative = curated.images[curated.images["phash"].notna()]
    assert curated.thumbnails["image_id"].tolist() == informative["image_id"].tolist()
    assert len(curated.images) == 3
    assert len(curated.thumbnails) == 2
    for thumbnail, phash in zip(curated.thumbnails["thumbnail"], informative["phash"], strict=True):
        pixels = np.frombuffer(thumbnail, np.uint8).reshape(32, 32)
        assert perceptual_hash(pixels) == phash
    assert curated.thumbnails["thumbnail"].iloc[1] == make_thumbnail(textured_pixels(200)).tobytes()


def test_a_source_of_blank_images_alone_has_an_empty_table_of_thumbnails(tmp_path):
    raw = RawFolder(tmp_path / "raw").add(1, 0, image=image_bytes(np.zeros((32, 40), np.uint8)))
    thumbnails = curate(raw).thumbnails
    write_table(thumbnails, tmp_path / "thumbnails.parquet", THUMBNAILS)
    assert read_table(tmp_path / "thumbnails.parquet", THUMBNAILS).empty
    assert len(merge_sources([curate(raw)], LABELS).thumbnails) == 0


def test_merging_puts_sources_below_each_other_and_refuses_the_same_one_twice(raw, tmp_path):
    other = RawFolder(tmp_path / "other").add(1, 0)
    first = curate(raw)
    options = OPTIONS | {"layout": OPTIONS["layout"]}
    second = curate(other, **options)
    for table in (second.images, second.boxes, second.labels, second.thumbnails):
        table["image_id"] = table["image_id"].str.replace("src/", "two/")
    merged = merge_sources([first, second], LABELS)
    assert len(merged.images) == 2
    assert len(merged.boxes) == 1
    with pytest.raises(InputError, match="image_id"):
        merge_sources([first, first], LABELS)


def test_a_flow_that_does_not_add_up_is_an_error(raw):
    curated = curate(raw)
    raw.write("new.txt", b"x")
    with pytest.raises(InputError, match="account for 3"):
        flow_of(raw, curated)


def test_the_scripts_run_and_bad_input_is_one_line(raw, tmp_path):
    raw.add(2, 5, image=b"x")
    make_manifest(raw.path).to_parquet(tmp_path / "files.parquet")
    options = {"folder": str(raw.path), "labels": LABELS, "curate": OPTIONS}
    names = ("images", "boxes", "labels", "rejects", "thumbnails", "headers")
    scripts = REPOSITORY / "workflow/scripts"
    environment = os.environ | {"PYTHONPATH": str(scripts)}
    outputs = [part for name in names for part in (f"--{name}", str(tmp_path / f"{name}.parquet"))]
    scans = [str(tmp_path / f"scan{shard}.parquet") for shard in range(2)]
    for shard, scan in enumerate(scans):
        scan_command = [sys.executable, str(scripts / "scan_files.py"), "--files", str(tmp_path / "files.parquet")]
        shard_options = {"folder": str(raw.path), "shard": shard, "shards": 2}
        scan_command += ["--scan", scan, "--threads", "1", "--options", json.dumps(shard_options)]
        subprocess.run(scan_command, check=True, env=environment, capture_output=True)
    curate_command = [sys.executable, str(scripts / "curate_source.py"), "--name", "src", *outputs, "--scans", *scans]
    curate_command += ["--files", str(tmp_path / "files.parquet"), "--options"]
    subprocess.run([*curate_command, json.dumps(options)], check=True, env=environment, capture_output=True)
    merged = [part for name in names for part in (f"--merged-{name}", str(tmp_path / f"m/{name}.parquet"))]
    merge_command = [sys.executable, str(scripts / "merge_sources.py"), "--files", str(tmp_path / "files.parquet")]
    merge_command += [*outputs, *merged, "--flow", str(tmp_path / "flow.json")]
    merge_command += ["--reading", str(tmp_path / "reading.json")]
    merge_command += ["--options", json.dumps({"labels": LABELS, "reading": {"src": {"repairs": ["first_frame"]}}})]
    subprocess.run(merge_command, check=True, env=environment, capture_output=True)
    thumbnails = read_table(tmp_path / "m/thumbnails.parquet", THUMBNAILS)
    assert thumbnails["image_id"].tolist() == ["src/SubdatasetC_PNG/set/image1/0001_00"]
    flow = json.loads((tmp_path / "flow.json").read_text())["sources"]["src"]
    reading = json.loads((tmp_path / "reading.json").read_text())
    assert (reading["src"]["repairs"], reading["src"]["window_width_hu"]) == (["first_frame"], 80)
    assert (flow["files"], flow["images"], flow["refused"]) == (6, 1, 3)
    options["curate"] = OPTIONS | {"classes": {}}
    wrong = subprocess.run([*curate_command, json.dumps(options)], env=environment, capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr
    assert "the class 'a'" in wrong.stderr.splitlines()[-1]


SCAN_ERRORS = {
    "of_fewer_files": (lambda scan: scan.iloc[1:], "another scan than of the manifest's 3 files"),
    "of_other_bytes": (lambda scan: scan.assign(sha256="0"), "another scan"),
}


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_shards_together_tell_what_one_scan_tells(raw, shards):
    raw.add(2, 5, image=b"x").add(3, 1, mask=image_bytes(np.full((32, 40), 7, np.uint8)))
    files = make_manifest(raw.path)
    manifest = raw.path.parent / "files.parquet"
    parts = [
        scan_shard(
            files.sample(frac=1, random_state=k), manifest, ScanShard(folder=str(raw.path), shard=k, shards=shards)
        )
        for k in range(shards)
    ]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    first, second = curate(raw), curate(raw, scan=join_shards(parts))
    for name in ("images", "boxes", "labels", "rejects", "thumbnails"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))


def test_a_scan_tells_of_each_file_what_its_pixels_are(raw):
    pixels = textured_pixels(100)
    raw.add(1, 1, image=image_bytes(np.zeros((32, 40), np.uint8)))
    files = make_manifest(raw.path)
    scan = scan_shard(files, raw.path / "m", ScanShard(folder=str(raw.path), shard=0, shards=1)).set_index("path")
    assert scan["sha256"].to_dict() == dict(zip(files["path"], files["sha256"], strict=True))
    one = scan.loc[raw.image_path(1, 0)]
    assert (one["width"], one["height"], one["channels"]) == (40, 32, "L")
    assert (one["grey_mean"], one["grey_sd"]) == pytest.approx((pixels.mean(), pixels.std()))
    assert (one["grey_min"], one["grey_max"]) == (pixels.min(), pixels.max())
    assert scan.loc[raw.image_path(1, 1), "grey_max"] == 0
    assert pd.isna(scan.loc[raw.image_path(1, 1), "phash"])
    assert "known type" in scan.loc[raw.annotation_path(1, 0), "problem"]
    assert pd.isna(scan.loc[raw.annotation_path(1, 0), "width"])
    images = curate(raw).images.set_index("image_id")
    assert images["grey_mean"].iloc[0] == pytest.approx(pixels.mean())


@pytest.mark.parametrize("change", SCAN_ERRORS)
def test_a_scan_of_other_files_stops(raw, change):
    wrong, message = SCAN_ERRORS[change]
    files = make_manifest(raw.path)
    scan = scan_shard(files, raw.path / "m", ScanShard(folder=str(raw.path), shard=0, shards=1))
    with pytest.raises(InputError, match=message):
        curate(raw, files, scan=wrong(scan))


def png_of(rows: bytes, height: int, width: int) -> bytes:
    """An 8-bit grey PNG whose chunks are all whole, whatever its compressed rows are."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_rows_that_are_missing_behind_whole_checksums_are_refused(raw):
    pixels = textured_pixels(5)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    packed = zlib.compress(rows)
    contents = [packed, packed[: len(packed) // 2], packed[:-4] + bytes(4), zlib.compress(rows[: -41 * 5])]
    found = []
    for number, content in enumerate(contents):
        raw.write(f"{number}.png", png_of(content, *pixels.shape))
        found.append(inspect_image(raw.path / f"{number}.png"))
    assert [one.problem is None for one in found] == [True, False, False, False]
    assert found[0].thumbnail == make_thumbnail(pixels).tobytes()


@pytest.mark.parametrize("shape", [(32, 40), (512, 512), (1000, 400), (2047, 1025)])
def test_thumbnails_are_near_those_of_one_filter_over_all_pixels(shape):
    rng = np.random.default_rng(0)
    soft = Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).resize(shape[::-1], Image.Resampling.BICUBIC)
    pixels = (np.asarray(soft) + rng.normal(0, 3, shape)).clip(0, 255).astype(np.uint8)
    plain = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.LANCZOS), dtype=int)
    assert np.abs(make_thumbnail(pixels) - plain).max() <= 4


def test_formats_that_run_other_programs_are_not_opened():
    with pytest.raises(ImageError, match="known type"):
        decode_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


def test_several_frames_in_a_file_are_refused():
    frames = [Image.fromarray(textured_pixels(seed)) for seed in range(2)]
    stream = io.BytesIO()
    frames[0].save(stream, "TIFF", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="several frames"):
        decode_image(stream.getvalue())
