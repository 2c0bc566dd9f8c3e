"""Phantom in the published layout of PHE-SICH-CT-IDS (arXiv:2308.10521), each of its real defects on purpose.

    SubdatasetC_PNG/set/image<N>/<PPPP>_<SS>.png              the slice, 8-bit grey
    SubdatasetC_PNG/label/label<N>/<PPPP>_<SS>.png            0 or 255: perihaematomal oedema
    SubdatasetC_PNG/annotation/annotation<N>/<PPPP>_<SS>.xml  Pascal VOC: the haemorrhage, one box or none
    MedInfo.xlsx                                              ID, Age, Sex

The defects: one patient's XML files have 3-digit names; XML without a box has no <size>; every <filename>
ends in .jpg; one patient has no mask file, and neither has one slice of another; one blank image stands in
several files of several patients; some slices have a box and an empty mask, one has oedema and no box;
patient numbers have holes; patients differ in their number of slices.
"""

import io
import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from openpyxl import Workbook
from PIL import Image

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.haemorrhage import INTRAPARENCHYMAL, INTRAVENTRICULAR, draw_kind
from scanline.acquire.phantoms.head_ct import BASE_MM, Head, draw_head, draw_slice
from scanline.core.images import Window, windowed
from scanline.core.log import progress

VERSION = 3  # raised when what is drawn changes: a phantom of another version is drawn anew
ROOT = "SubdatasetC_PNG"
CLASS = "a"
SMALLEST_BOXED_MM2 = 20.0  # annotators overlook less
# Bleeds are as high as `draw_kind` draws them, and this much wider: real boxes take 0.21 of the image's side along the
# head and 0.17 across it on average, the phantom's then 0.20 and 0.15.
WIDER = 2.2
MASKLESS_SLICE = 0
WRITTEN = "2023-08-20T00:00:00Z"  # the patient table's time stamp, fixed so that equal seeds give equal bytes

ANNOTATION = """<?xml version='1.0' encoding='us-ascii'?>
<annotation>
<folder>VOC2007</folder>
<filename>{stem}.jpg</filename>
<path>png\\set\\image{patient}\\{slice}.png</path>
<source>
    <database>Unknown</database>
</source>
{size}
<segmented>0</segmented>
{object}</annotation>"""
SIZE = """<size>
    <width>{0}</width>
    <height>{0}</height>
    <depth>3</depth>
</size>
"""
OBJECT = """    <object>
    <name>{name}</name>
    <pose>Unspecified</pose>
    <truncated>0</truncated>
    <difficult>0</difficult>
    <bndbox>
        <xmin>{0}</xmin>
        <ymin>{1}</ymin>
        <xmax>{2}</xmax>
        <ymax>{3}</ymax>
    </bndbox>
</object>
"""

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # xmin, ymin, xmax, ymax: edges, counted from 0


@dataclass
class Record:
    """One slice as it will be written; image and mask are (size, size), the mask 0 or 255."""

    patient: int
    index: int
    image: Pixels
    box: Box | None
    mask: Pixels | None
    digits: int = 4


def write(folder: Path, options: PhantomSource) -> None:
    """Draw all patients into an existing, empty folder; equal options give equal bytes."""
    rng = np.random.default_rng(options.seed)
    numbers = draw_numbers(rng, options.patients)
    short_named, maskless, gap = (int(number) for number in rng.permutation(numbers)[:3])
    blank_ended = {int(number) for number in rng.permutation(numbers)[: max(2, options.patients // 6)]}
    records: list[Record] = []
    for number, seed in progress(list(zip(numbers, rng.spawn(len(numbers)), strict=True)), unit="patient"):
        records += _draw_patient(seed, number, options, blank_at_end=number in blank_ended)
    _disagree(rng, [record for record in records if record.patient != maskless])
    for record in records:
        if record.patient == maskless or (record.patient == gap and record.index == MASKLESS_SLICE):
            record.mask = None
        if record.patient == short_named:
            record.digits = 3
        _write_record(folder / ROOT, record)
    _write_patient_table(folder / "MedInfo.xlsx", rng, numbers)


def draw_numbers(rng: np.random.Generator, patients: int) -> list[int]:
    """Draw that many patient numbers, sorted, with holes."""
    highest = patients + max(2, patients * 2 // 5)
    return sorted(int(number) for number in rng.choice(np.arange(1, highest), patients, replace=False))


def _draw_patient(rng: np.random.Generator, number: int, options: PhantomSource, *, blank_at_end: bool) -> list[Record]:
    """Draw a patient's slices from skull base to vertex; a last one that is blank is above the head."""
    slices = max(2, options.slices_per_patient + int(rng.integers(-2, 4)))
    head = draw_head(rng)
    drawn = slices - 1 if blank_at_end else slices
    levels = BASE_MM + (np.arange(drawn) + 0.5) / drawn * (head.top_mm - BASE_MM)
    head = _with_bleeding(rng, head, levels)
    records = [_draw_record(number, index, head, float(z), options) for index, z in enumerate(levels)]
    if blank_at_end:
        empty = np.zeros((options.image_size_px, options.image_size_px), np.uint8)
        records.append(Record(number, drawn, empty, None, empty))
    return records


def _with_bleeding(rng: np.random.Generator, head: Head, levels: NDArray[np.float64]) -> Head:
    """Give a head its intraparenchymal bleed, its middle on a slice, and at times blood in the ventricles."""
    bleed = draw_kind(rng, INTRAPARENCHYMAL)
    across, along, up = bleed.axes_mm
    x, y, z = bleed.centre_mm
    z = float(levels[np.argmin(np.abs(levels - z))])
    bleeds = [replace(bleed, centre_mm=(x, y, z), axes_mm=(WIDER * across, WIDER * along, up))]
    into_ventricles = draw_kind(rng, INTRAVENTRICULAR)
    if rng.random() < 0.2:
        same_side = abs(into_ventricles.centre_mm[0]) * float(np.sign(x))
        bleeds.append(replace(into_ventricles, centre_mm=(same_side, *into_ventricles.centre_mm[1:])))
    return replace(head, haemorrhages=tuple(bleeds))


def _draw_record(number: int, index: int, head: Head, z_mm: float, options: PhantomSource) -> Record:
    drawn = draw_slice(head, z_mm, options.image_size_px)
    bleeding = np.logical_or.reduce([np.zeros_like(drawn.brain), *drawn.lesions.values()])
    pixel_mm2 = (head.field_of_view_mm / options.image_size_px) ** 2
    box = box_of(bleeding) if bleeding.sum() * pixel_mm2 >= SMALLEST_BOXED_MM2 else None
    seen = drawn.oedema if box is not None else np.zeros_like(drawn.oedema)
    return Record(number, index, windowed(drawn.hu, Window()), box, np.where(seen, 255, 0).astype(np.uint8))


def box_of(mask: NDArray[np.bool_]) -> Box | None:
    """The tight box of a mask (height, width): left, top, right, bottom edge in pixels; none where empty."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _disagree(rng: np.random.Generator, records: list[Record]) -> None:
    """Take the box from one slice that has a box and oedema, and the oedema from some others."""
    both = [record for record in records if record.box is not None and record.mask is not None and record.mask.any()]
    order = rng.permutation(len(both))
    for index in order[:1]:
        both[index].box = None
    for index in order[1 : 2 + len(both) // 16]:
        both[index].mask = np.zeros_like(both[index].image)


def _write_record(root: Path, record: Record) -> None:
    name = f"{record.patient:04d}_{record.index:02d}"
    _write_png(root / f"set/image{record.patient}/{name}.png", record.image)
    if record.mask is not None:
        _write_png(root / f"label/label{record.patient}/{name}.png", record.mask)
    stem = f"{record.patient:0{record.digits}d}_{record.index:02d}"
    xml = root / f"annotation/annotation{record.patient}/{stem}.xml"
    xml.parent.mkdir(parents=True, exist_ok=True)
    xml.write_bytes(_annotation(record, stem).encode("ascii"))


def _annotation(record: Record, stem: str) -> str:
    size, found = "", ""
    if record.box is not None:
        size = SIZE.format(record.image.shape[0])
        found = OBJECT.format(*record.box, name=CLASS)
    return ANNOTATION.format(stem=stem, patient=record.patient, slice=record.index, size=size, object=found)


def _write_png(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=3)


def _write_patient_table(path: Path, rng: np.random.Generator, numbers: list[int]) -> None:
    """Write ID, Age in years and Sex (F or M) of each patient; the same rows give the same bytes."""
    book = Workbook()
    sheet = book.active
    sheet.append(["ID", "Age", "Sex"])
    for number in numbers:
        age = int(np.clip(rng.normal(60, 12), 18, 95))
        sheet.append([number, age, "F" if rng.random() < 0.4 else "M"])
    buffer = io.BytesIO()
    book.save(buffer)
    path.write_bytes(_without_times(buffer.getvalue()))


def _without_times(xlsx: bytes) -> bytes:
    """Pack a workbook again with fixed times: openpyxl writes the present ones into it."""
    fixed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(xlsx)) as source,
        zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", WRITTEN.encode(), content)
            target.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return fixed.getvalue()
