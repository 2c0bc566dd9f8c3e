"""Phantom knees: what their files tell is what was drawn, and curation finds every defect that was put in."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml

from scanline.acquire.manifest import make_manifest
from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms import knee_mdai, knee_normal
from scanline.acquire.phantoms.knee_mri import FLUID, REGIONS, draw_knee, draw_slice
from scanline.curate.options import CurateOptions, CurateSource
from scanline.curate.scan import curate_source
from scanline.split.groups import find_groups

STUDY = yaml.safe_load((Path(__file__).parents[2] / "config/studies/meniscus.yaml").read_text("utf-8"))
LAYOUTS = {"torn": knee_mdai, "normal": knee_normal}


def write(folder, source, patients=6):
    folder.mkdir()
    values = {"method": "phantom", "path": "data/x", "layout": "x", "patients": patients, "seed": 3}
    LAYOUTS[source].write(folder, PhantomSource(**values, slices_per_patient=10, image_size_px=64))
    return folder


def curate(folder, source):
    options = CurateOptions.model_validate(STUDY["sources"][source]["curate"])
    return curate_source(
        source,
        make_manifest(folder),
        folder / "m",
        CurateSource(folder=str(folder), labels=tuple(STUDY["labels"]), curate=options),
    )


def test_equal_options_give_equal_files(tmp_path):
    for source in LAYOUTS:
        first, second = (make_manifest(write(tmp_path / f"{source}{k}", source)) for k in range(2))
        assert first.equals(second)


@pytest.mark.parametrize("region", REGIONS)
def test_a_tear_is_boxed_in_its_region_and_bright_inside(region):
    knee = draw_knee(np.random.default_rng(1), (region,))
    places = np.linspace(0.02, 0.98, 24)
    slices = {float(place): draw_slice(np.random.default_rng(2), knee, float(place), 96) for place in places}
    torn = {place: one for place, one in slices.items() if one.boxes}
    assert torn
    assert all((place < 0.5) == region.startswith("Lat") for place in torn)
    for one in torn.values():
        ((name, x, y, width, height),) = one.boxes
        assert name == region
        inside = one.values[int(y) : int(y + height), int(x) : int(x + width)]
        assert inside.max() > 0.6 * FLUID * knee.gain
    healthy = draw_knee(np.random.default_rng(1), ())
    assert not any(draw_slice(np.random.default_rng(2), healthy, float(place), 96).boxes for place in places)


def test_curation_finds_every_defect_of_the_torn_knees(tmp_path):
    tables = curate(write(tmp_path / "torn", "torn"), "torn")
    refused = tables.rejects[tables.rejects["action"] == "refused"]["reason"].value_counts().to_dict()
    assert refused == {
        "duplicate_box": 1,
        "unknown_uid": 1,
        "row_without_box": 1,
        "box_unreadable": 1,
        "volume_without_dicom": 1,
    }
    images = tables.images.sort_values(["volume_id", "slice_index"])
    assert images.groupby("volume_id")["slice_index"].apply(list).tolist() == [list(range(10))] * 6
    assert tables.boxes["image_id"].nunique() == tables.labels["tear"].sum() > 0
    for path, position in zip(images["path"], images["slice_index"], strict=True):
        assert pydicom.dcmread(path).ImagePositionPatient[0] == -4 * position  # the normal is -x


def test_normal_knees_are_negative_and_monochrome1_looks_like_the_others(tmp_path):
    tables = curate(write(tmp_path / "normal", "normal"), "normal")
    assert tables.rejects["reason"].tolist() == ["image_unreadable"]
    assert not tables.labels["tear"].any()
    assert set(tables.headers["photometric"]) == {"MONOCHROME1", "MONOCHROME2"}
    grey = tables.images.groupby("volume_id")["grey_mean"].mean()
    assert grey.max() - grey.min() < 60


def test_no_two_knees_are_taken_for_copies(tmp_path):
    tables = curate(write(tmp_path / "normal", "normal", patients=12), "normal")
    assert find_groups(tables.images, tables.thumbnails)["group_id"].nunique() == 12
