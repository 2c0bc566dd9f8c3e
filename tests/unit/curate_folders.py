"""Small raw folders in the Pascal VOC layout of config/studies/phe_sich.yaml, and their curation."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from scanline.acquire.manifest import make_manifest
from scanline.curate.options import CurateOptions, CurateSource
from scanline.curate.scan import Curated, curate_source

REPOSITORY = Path(__file__).parents[2]
STUDY = yaml.safe_load((REPOSITORY / "config/studies/phe_sich.yaml").read_text("utf-8"))
LABELS = tuple(STUDY["labels"])
OPTIONS = STUDY["sources"]["phe_sich_ids"]["curate"]
SIZE = 40  # width of the made images; they are 32 high


def textured_pixels(seed: int = 0) -> np.ndarray:
    """Grey pixels of shape (32, 40) with waves and noise."""
    y, x = np.mgrid[:32, :SIZE]
    waves = 128 + 60 * np.sin(x / 5 + seed) + 40 * np.cos(y / 7)
    return (waves + np.random.default_rng(seed).normal(0, 6, x.shape)).clip(0, 255).astype(np.uint8)


def image_bytes(pixels: np.ndarray, format: str = "PNG", **options) -> bytes:
    """An encoded image."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


def mask_bytes(outlined: bool) -> bytes:
    """A mask of 0 and 255, or an empty one."""
    mask = np.zeros((32, SIZE), np.uint8)
    mask[4:9, 5:9] = 255 * outlined
    return image_bytes(mask)


def voc_xml(boxes=(), size: tuple[object, object] | None = (SIZE, 32), label: str = "a") -> bytes:
    """A Pascal VOC annotation; boxes are (xmin, ymin, xmax, ymax)."""
    corners = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        f"<object><name>{label}</name><bndbox>"
        + "".join(f"<{corner}>{value}</{corner}>" for corner, value in zip(corners, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    )
    declared = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<?xml version='1.0'?><annotation>{declared}{objects}</annotation>".encode()


class RawFolder:
    """A raw folder; `add` overwrites parts of a slice, a part given as None is missing."""

    def __init__(self, path: Path):
        self.path = path

    def write(self, relative: str, content: bytes) -> str:
        file = self.path / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return relative

    def image_path(self, patient: int, index: int) -> str:
        return f"SubdatasetC_PNG/set/image{patient}/{patient:04d}_{index:02d}.png"

    def annotation_path(self, patient: int, index: int) -> str:
        return f"SubdatasetC_PNG/annotation/annotation{patient}/{patient:04d}_{index:02d}.xml"

    def mask_path(self, patient: int, index: int) -> str:
        return f"SubdatasetC_PNG/label/label{patient}/{patient:04d}_{index:02d}.png"

    def add(self, patient: int, index: int, boxes=(), **parts: bytes | None) -> "RawFolder":
        content = {
            "image": image_bytes(textured_pixels(100 * patient + index)),
            "annotation": voc_xml(boxes),
            "mask": mask_bytes(bool(boxes)),
        } | parts
        for kind, data in content.items():
            if data is not None:
                self.write(getattr(self, f"{kind}_path")(patient, index), data)
        return self


@pytest.fixture(name="raw")
def raw_folder(tmp_path):
    """A raw folder with one good slice of patient 1: a box and a mask."""
    return RawFolder(tmp_path / "raw").add(1, 0, boxes=[(5, 4, 9, 9)])


def curate(raw: RawFolder, files=None, scan=None, **changes) -> Curated:
    """Curate a folder with the study's options, some changed."""
    options = CurateSource(folder=str(raw.path), labels=LABELS, curate=CurateOptions.model_validate(OPTIONS | changes))
    manifest = make_manifest(raw.path) if files is None else files
    return curate_source("src", manifest, raw.path.parent / "files.parquet", options, scan)


def rejects_of(curated: Curated) -> list[tuple[str, int | None, str, str]]:
    """(path, row, action, reason) of the rejects, without the notes of files that are no part of the layout."""
    table = curated.rejects.astype(object).where(curated.rejects.notna(), None)
    rows = table[["path", "row", "action", "reason"]].itertuples(index=False, name=None)
    return [tuple(row) for row in rows]


def labels_of(curated: Curated, image_id_end: str) -> dict[str, bool | None]:
    """Labels of the one image whose id ends so, None for unknown."""
    rows = curated.labels[curated.labels["image_id"].str.endswith(image_id_end)]
    assert len(rows) == 1
    return {name: None if rows[name].isna().item() else bool(rows[name].item()) for name in LABELS}


def real_folder(name: str) -> Path:
    """A folder of real data, or a skip."""
    root = Path(os.environ.get("SCANLINE_DATA", REPOSITORY / "../shared/data"))
    if not (root / name).is_dir():
        pytest.skip(f"real data absent: {root / name} (set SCANLINE_DATA)")
    return root / name
