"""The phantom's layout of PHE-SICH-CT-IDS: its files, and each of the real data's defects."""

import hashlib
import re
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict

import numpy as np
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scanline.acquire.manifest import make_manifest
from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.phe_sich_ids import box_of, draw_numbers, write
from scanline.core.images import read_image

PATIENTS, SLICES, SIZE = 24, 16, 128


def source(seed=7, patients=PATIENTS, slices=SLICES, size=SIZE):
    return PhantomSource(
        method="phantom",
        path="data/x",
        layout="phe_sich_ids",
        patients=patients,
        slices_per_patient=slices,
        image_size_px=size,
        seed=seed,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    write(folder, source())
    return folder


@pytest.fixture(scope="module")
def slices(folder):
    """Of each (patient, slice): image, annotation and mask path, by the number of the folder."""
    found = defaultdict(dict)
    for path in (folder / "SubdatasetC_PNG").rglob("*.*"):
        patient, index = int(re.sub(r"\D", "", path.parent.name)), int(path.stem[-2:])
        found[patient, index][path.parent.parent.name] = path
    return found


def objects(entry):
    return ET.parse(entry["annotation"]).getroot().findall("object")


def has_oedema(entry):
    return "label" in entry and bool(np.asarray(Image.open(entry["label"])).any())


def test_every_slice_has_image_and_annotation(slices):
    counts = Counter(patient for patient, _ in slices)
    assert len(counts) == PATIENTS
    assert len(set(counts.values())) > 1
    assert all(SLICES - 2 <= count <= SLICES + 3 for count in counts.values())
    for (patient, index), entry in slices.items():
        assert {"set", "annotation"} <= set(entry)
        assert entry["set"].name == f"{patient:04d}_{index:02d}.png"
        assert read_image(entry["set"]).shape == (SIZE, SIZE)


def test_prevalence_is_that_of_the_real_data(slices):
    positive = sum(bool(objects(entry)) for entry in slices.values())
    assert 0.17 < positive / len(slices) < 0.28
    assert {patient for (patient, _), entry in slices.items() if objects(entry)} == {p for p, _ in slices}


def test_boxes_are_inside_the_image_and_bright(slices):
    for entry in slices.values():
        root = ET.parse(entry["annotation"]).getroot()
        assert (root.find("size") is None) == (not objects(entry))
        for found in objects(entry):
            assert found.findtext("name") == "a"
            corners = [int(found.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
            left, top, right, bottom = corners
            assert 0 <= left < right <= SIZE
            assert 0 <= top < bottom <= SIZE
            assert read_image(entry["set"])[top:bottom, left:right].max() > 130
            assert root.findtext("size/width") == str(SIZE)


def test_boxes_are_nearly_as_large_as_the_real_ones(slices):
    """Of the image's side: 0.21 along the head and 0.17 across it on average, in 725 real boxes."""
    boxes = [
        [int(found.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
        for entry in slices.values()
        for found in objects(entry)
    ]
    left, top, right, bottom = np.array(boxes).T
    assert 0.13 < (right - left).mean() / SIZE < 0.21
    assert 0.17 < (bottom - top).mean() / SIZE < 0.25


def test_filenames_end_in_jpg_and_one_patient_has_short_names(slices):
    short = set()
    for (patient, index), entry in slices.items():
        stem = entry["annotation"].stem
        assert ET.parse(entry["annotation"]).getroot().findtext("filename") == f"{stem}.jpg"
        if stem == f"{patient:03d}_{index:02d}":
            short.add(patient)
        else:
            assert stem == f"{patient:04d}_{index:02d}"
    assert len(short) == 1


def test_one_patient_and_one_slice_have_no_mask(slices):
    missing = Counter(patient for (patient, _), entry in slices.items() if "label" not in entry)
    (maskless, count), (_, single) = missing.most_common()
    assert count == sum(patient == maskless for patient, _ in slices)
    assert single == 1


def test_masks_are_0_and_255(slices):
    values = {value for entry in slices.values() if "label" in entry for value in np.unique(read_image(entry["label"]))}
    assert values == {0, 255}


def test_boxes_and_masks_disagree_as_in_the_real_data(slices):
    with_mask = [entry for entry in slices.values() if "label" in entry]
    assert sum(has_oedema(entry) and not objects(entry) for entry in with_mask) == 1
    assert 2 <= sum(bool(objects(entry)) and not has_oedema(entry) for entry in with_mask) <= 12
    assert any(objects(entry) and "label" not in entry for entry in slices.values())


def test_one_blank_image_stands_in_files_of_several_patients(slices):
    by_hash = defaultdict(set)
    for (patient, _), entry in slices.items():
        by_hash[hashlib.sha256(entry["set"].read_bytes()).hexdigest()].add((patient, read_image(entry["set"]).max()))
    shared = [owners for owners in by_hash.values() if len(owners) > 1]
    assert len(shared) == 1
    assert {brightest for _, brightest in shared[0]} == {0}


def test_patient_table_names_every_patient(folder, slices):
    rows = list(openpyxl.load_workbook(folder / "MedInfo.xlsx").active.values)
    assert rows[0] == ("ID", "Age", "Sex")
    assert {row[0] for row in rows[1:]} == {patient for patient, _ in slices}
    assert {row[2] for row in rows[1:]} == {"F", "M"}
    assert all(18 <= row[1] <= 95 for row in rows[1:])


def test_same_seed_same_bytes_other_seed_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, source(seed, patients=4, slices=5, size=32))
    a, b, c = (make_manifest(tmp_path / name) for name in "abc")
    assert a.equals(b)
    assert not set(a["sha256"][a["path"].str.contains("set/")]) & set(c["sha256"][c["bytes"] > 200])


def test_the_smallest_phantom_is_drawn(tmp_path):
    write(tmp_path, source(0, patients=3, slices=2, size=32))
    assert len(list(tmp_path.rglob("*.xml"))) >= 6


@given(st.integers(0, 1000), st.integers(3, 200))
def test_patient_numbers_are_distinct_and_have_holes(seed, patients):
    numbers = draw_numbers(np.random.default_rng(seed), patients)
    assert len(set(numbers)) == patients
    assert numbers == sorted(numbers)
    assert numbers[0] >= 1
    assert numbers[-1] < patients + max(2, patients * 2 // 5)


def test_box_is_tight():
    mask = np.zeros((5, 8), bool)
    assert box_of(mask) is None
    mask[1:3, 2:7] = True
    assert box_of(mask) == (2, 1, 7, 3)
