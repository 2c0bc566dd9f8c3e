"""Small raw folders of any layout, and what curation makes of them."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from curate_folders import SIZE, image_bytes, textured_pixels
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from scanline.acquire.manifest import make_manifest
from scanline.curate.merge import count_flow
from scanline.curate.options import CurateOptions, CurateSource
from scanline.curate.scan import Curated, curate_source

LABELS = ("iph", "sah", "edh")
CLASSES = {"IPH": "iph", "SAH": "sah", "EDH": "edh"}


def curated(folder: Path, adapter: str, layout: dict, labels=LABELS, name="src", **changes) -> tuple[Curated, dict]:
    """The tables of a folder and its flow."""
    curate = {"adapter": adapter, "layout": layout, "classes": CLASSES, "annotated_classes": labels, **changes}
    options = CurateSource(folder=str(folder), labels=labels, curate=CurateOptions.model_validate(curate))
    files = make_manifest(folder)
    tables = curate_source(name, files, folder / "files.parquet", options)
    return tables, count_flow(files, tables, folder / "files.parquet")


def reasons(tables: Curated) -> dict[str, int]:
    """Number of rejects by reason."""
    return tables.rejects["reason"].value_counts().to_dict()


def truth(tables: Curated, image: str, name="src") -> dict[str, bool | None]:
    """The labels of an image, None where it is unknown."""
    row = tables.labels.set_index("image_id").loc[f"{name}/{image}"]
    return {label: None if pd.isna(value) else bool(value) for label, value in row.items()}


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_pictures(folder: Path, *names: str) -> None:
    """Pictures of 40 x 32 pixels, each another."""
    for seed, name in enumerate(names):
        write(folder / name, image_bytes(textured_pixels(seed + 1), "JPEG" if name.endswith(".jpg") else "PNG"))


def coco(images: list, boxes: list, classes=("IPH", "SAH", "EDH"), **parts) -> str:
    """A COCO file: `images` are names, or whole rows; `boxes` are (image, category, bbox), or whole rows."""
    rows = [
        {"id": number, "file_name": one, "width": SIZE, "height": 32} if isinstance(one, str) else one
        for number, one in enumerate(images)
    ]
    annotations = [
        {"id": number, "image_id": one[0], "category_id": one[1], "bbox": one[2], "iscrowd": 0}
        if isinstance(one, tuple)
        else one
        for number, one in enumerate(boxes)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    return json.dumps({"images": rows, "annotations": annotations, "categories": categories, **parts})


def dicom(values: np.ndarray, *, syntax=ExplicitVRLittleEndian, **fields) -> bytes:
    """A DICOM file whose stored values are these, shape (height, width), int16; fields that are None are left out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, syntax
    meta.MediaStorageSOPInstanceUID = fields.get("SOPInstanceUID") or "1.2.3"
    defaults = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2",
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "InstanceNumber": 4,
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "PixelData": values.astype("<i2").tobytes(),
    }
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for name, value in (defaults | fields).items():
        if value is not None:
            setattr(dataset, name, value)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
