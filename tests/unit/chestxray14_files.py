"""Small and real files of NIH ChestX-ray14 for tests."""

import gzip
import os
import shutil
from pathlib import Path

import pytest
from curate_folders import real_folder

from scanline.acquire.manifest import make_manifest
from scanline.curate.adapters.nih_chestxray14 import FINDINGS
from scanline.curate.merge import count_flow
from scanline.curate.options import CurateSource
from scanline.curate.scan import curate_source

REPOSITORY = Path(__file__).parents[2]
CLASSES = {name: name.lower() for name in FINDINGS}
LABELS = tuple(CLASSES.values())
HEADING = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS_2020 = (
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,80,F,AP,2500,2048,0.171,0.171",
)
ROWS_2017 = (
    "00000001_000.png,Cardiomegaly,000,00000001,058Y,M,PA,2682,2749,0.143,0.143,",
    "00000001_001.png,Effusion,001,00000001,414Y,M,PA,2894,2729,0.143,0.143,",
    "00000002_000.png,No Finding,000,00000002,006M,F,AP,2500,2048,0.171,0.171,",
)
BOXES = (
    "Image Index,Finding Label,Bbox [x,y,w,h],,,",
    "00000001_001.png,Cardiomegaly,100.5,200.25,300,400,,,",
)


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    """Write lines, as gzip where the suffix says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = (end.join(lines) + end).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def curated(folder: Path, files=None, **layout):
    """The tables of a folder and its flow; `files` is its manifest where another is wanted."""
    curate = {
        "adapter": "nih_chestxray14",
        "layout": {"images": "none", **layout},
        "classes": CLASSES,
        "annotated_classes": LABELS,
        "modality": "DX",
    }
    options = CurateSource.model_validate({"folder": str(folder), "labels": LABELS, "curate": curate})
    files = make_manifest(folder) if files is None else files
    manifest = folder.parent / "files.parquet"
    tables = curate_source("nih", files, manifest, options)
    return tables, count_flow(files, tables, manifest)


def real_tables(folder: Path) -> Path:
    """A folder with the real tables of 2020 and the official lists, or a skip."""
    place = Path(os.environ.get("SCANLINE_CHESTXRAY14", REPOSITORY / "data/chestxray14"))
    lists = real_folder("nih_chestxray14")
    names = ("Data_Entry_2017_v2020.csv.gz", "BBox_List_2017.csv.gz")
    if not all((place / name).is_file() for name in names):
        pytest.skip(f"no {names[0]} in {place}: run snakemake chestxray14, or set SCANLINE_CHESTXRAY14")
    folder.mkdir(parents=True)
    for path in (*(place / name for name in names), lists / "train_val_list.txt", lists / "test_list.txt"):
        shutil.copyfile(path, folder / path.name)
    return folder
