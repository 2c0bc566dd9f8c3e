import pytest
from curate_folders import LABELS, OPTIONS, real_folder

from scanline.acquire.manifest import make_manifest
from scanline.curate.merge import count_flow
from scanline.curate.options import CurateOptions, CurateSource
from scanline.curate.scan import curate_source


@pytest.fixture(scope="module")
def phe_sich(tmp_path_factory):
    folder = real_folder("phe_sich_ids")
    manifest = tmp_path_factory.mktemp("phe_sich") / "files.parquet"
    options = CurateSource(folder=str(folder), labels=LABELS, curate=CurateOptions.model_validate(OPTIONS))
    files = make_manifest(folder)
    curated = curate_source("phe_sich_ids", files, manifest, options)
    return curated, count_flow(files, curated, manifest)


def test_every_patient_slice_box_and_mask_arrives(phe_sich):
    curated, flow = phe_sich
    assert {name: flow[name] for name in ("files", "images", "annotations", "masks", "other", "refused")} == {
        "files": 10_500,
        "images": 3_511,
        "annotations": 3_511,
        "masks": 3_478,
        "other": 0,
        "refused": 0,
    }
    assert (flow["patients"], flow["boxes"], flow["refused_rows"]) == (120, 725, 0)
    slices = curated.images.groupby("patient_id").size()
    assert (slices.min(), slices.max()) == (24, 69)
    assert (curated.images[["width", "height"]] == 512).all(axis=None)


def test_labels_know_what_was_looked_at(phe_sich):
    _, flow = phe_sich
    assert flow["labels"] == {
        "haemorrhage": {"positive": 725, "negative": 2_786, "unknown": 0},
        "perihaematomal_oedema": {"positive": 676, "negative": 2_802, "unknown": 33},
    }


def test_defects_are_repaired_or_noted_and_counted(phe_sich):
    curated, flow = phe_sich
    assert flow["repaired_by_reason"] == {"name_digits": 32, "size_missing": 2_783}
    assert flow["noted_by_reason"] == {
        "box_and_empty_mask": 43,
        "box_without_mask_file": 8,
        "mask_without_box": 2,
    }
    both = curated.labels["haemorrhage"] & curated.labels["perihaematomal_oedema"]
    assert both.fillna(False).sum() == 674
    repaired = curated.rejects.loc[curated.rejects["reason"] == "name_digits", "path"]
    assert repaired.str.startswith("SubdatasetC_PNG/annotation/annotation13/013_").all()
    of_13 = curated.labels[curated.labels["image_id"].str.contains("/image13/")]
    assert len(of_13) == 32
    assert of_13["haemorrhage"].notna().all()
    assert of_13["haemorrhage"].any()


def test_slices_without_a_mask_file_are_unknown_not_empty(phe_sich):
    curated, _ = phe_sich
    unknown = curated.labels.loc[curated.labels["perihaematomal_oedema"].isna(), "image_id"]
    names = unknown.str.rsplit("/", n=1).str[1]
    assert sorted(names) == [f"0070_{index:02d}" for index in range(32)] + ["0071_05"]


def test_the_blank_image_ties_nothing(phe_sich):
    curated, _ = phe_sich
    copies = curated.images[curated.images["sha256"].duplicated(keep=False)]
    assert (len(copies), copies["sha256"].nunique(), copies["patient_id"].nunique()) == (30, 1, 18)
    assert copies["phash"].isna().all()
    assert curated.images["phash"].isna().sum() == 37
