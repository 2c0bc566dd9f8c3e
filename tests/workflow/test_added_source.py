"""A source that is added to a study: its own files are fetched, read and curated, and of the others nothing is."""

import pytest
import yaml
from conftest import PRESET

pytestmark = pytest.mark.workflow

DRAWN = {"method": "phantom", "slices_per_patient": 4, "image_size_px": 48, "seed": 5}
TORN = {**DRAWN, "path": "data/tiny/torn", "layout": "knee_mdai", "patients": 40}
NORMAL = {**DRAWN, "path": "data/tiny/normal", "layout": "knee_normal", "patients": 8}
RECEIPT = f"results/{PRESET}/meniscus/splits/balanced/receipt.json"


def write_preset(project, normal):
    sources = {"torn": {"acquire": TORN}, "normal": normal}
    study = {"sources": sources, "pixels": {"image_size_px": 64}}
    project.preset_file.write_text(yaml.safe_dump({"studies": {"meniscus": study}}), "utf-8")


def test_to_add_a_source_reruns_only_what_depends_on_it(clone):
    write_preset(clone, None)
    clone.snakemake(RECEIPT)
    assert clone.planned(RECEIPT) == set()
    kept = {path: path.read_bytes() for path in clone.results.glob("meniscus/sources/torn/**/*.parquet")}
    assert kept
    write_preset(clone, {"acquire": NORMAL})
    own = {f"{rule}/meniscus/normal" for rule in ("acquire_source", "curate_source")}
    after = {"merge_sources/meniscus", "group_images/meniscus"}
    after |= {f"{rule}/meniscus/balanced" for rule in ("split_grouped", "verify_split")}
    assert clone.planned(RECEIPT) == own | {"scan_files/meniscus/normal/0"} | after
    clone.snakemake(RECEIPT)
    assert {path: path.read_bytes() for path in kept} == kept
    assert clone.planned(RECEIPT) == set()
