"""Phantom of NIH ChestX-ray14 in the layout that its authors publish, the label file in the form of 2017.

    Data_Entry_2017.csv      Cardiomegaly|Effusion, 012, 00000017, 058Y, M, PA, ...
    BBox_List_2017.csv       boxes of eight findings on test images, in pixels of 1024 x 1024 images
    train_val_list.txt       images of 77 of 100 patients
    test_list.txt            the others, which are sicker
    images_001/images/<patient>_<follow-up>.png, images_002/...

Most patients have one image and a few have many, and a finding that a patient has shows on most of them. Its defects:
an age of 414 years, an image with transparency, one that ends in the middle, one without a row, and a row without an
image.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.chest_xray import ENLARGED, draw_chest, draw_person, expose

VERSION = 1  # raised when what is drawn changes: a phantom of another version is drawn anew
HEADING = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
BOX_HEADING = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
NO_FINDING = "No Finding"
# Chances that a patient has it: those of an image in the table of 2020, where they are lower, raised so that a small
# phantom shows each.
RARE = 0.05
CHANCES = {
    "Atelectasis": 0.103,
    ENLARGED: RARE,
    "Consolidation": RARE,
    "Edema": RARE,
    "Effusion": 0.119,
    "Emphysema": RARE,
    "Fibrosis": RARE,
    "Hernia": RARE,
    "Infiltration": 0.177,
    "Mass": RARE,
    "Nodule": RARE,
    "Pleural_Thickening": RARE,
    "Pneumonia": RARE,
    "Pneumothorax": RARE,
}
SICKER = 1.4  # chances of test patients against those of the others
SHOWN = 0.75  # share of a patient's later images that show a finding that the patient has
BOXED = {  # as the list of boxes spells them
    "Atelectasis": "Atelectasis",
    ENLARGED: ENLARGED,
    "Effusion": "Effusion",
    "Infiltration": "Infiltrate",
    "Mass": "Mass",
    "Nodule": "Nodule",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}
PUBLISHED_PX = 1024
TEST_EVERY = 13, 3  # of so many patients so many are of test: 23 of 100
FOLDERS = 3


@dataclass(frozen=True)
class _Image:
    """One image: its row of the table, and the boxes of its findings."""

    name: str
    row: str
    boxes: tuple[str, ...]
    is_test: bool


def write(folder: Path, options: PhantomSource) -> None:
    """Draw all patients into an existing, empty folder; equal options give equal bytes.

    `slices_per_patient` is the most images that a patient has.
    """
    for number in range(1, FOLDERS + 1):
        (folder / f"images_{number:03d}" / "images").mkdir(parents=True)
    images = [image for number in range(1, options.patients + 1) for image in _draw_patient(folder, options, number)]
    rows = [image.row for image in images]
    rows[0] = rows[0].replace(rows[0].split(",")[4], "414Y")
    rows.append("99999999_000.png,No Finding,000,99999999,040Y,F,PA,2500,2048,0.171,0.171,")
    (folder / "Data_Entry_2017.csv").write_text("\n".join([HEADING, *rows]) + "\n", "utf-8")
    boxes = [box for image in images for box in image.boxes]
    (folder / "BBox_List_2017.csv").write_text("\n".join([BOX_HEADING, *boxes]) + "\n", "utf-8")
    for name, is_test in (("train_val_list.txt", False), ("test_list.txt", True)):
        listed = [image.name for image in images if image.is_test == is_test]
        (folder / name).write_text("\n".join(listed) + "\n", "utf-8")
    _spoil(folder)


def _draw_patient(folder: Path, options: PhantomSource, number: int) -> list[_Image]:
    rng = np.random.default_rng([options.seed, number])
    is_test = number % TEST_EVERY[0] < TEST_EVERY[1]
    sex = str(rng.choice(["M", "F"], p=[0.56, 0.44]))
    age = int(rng.integers(5, 85))
    person = draw_person(rng, breasts=sex == "F")
    turn = number % (2 * len(CHANCES))  # every other patient has one finding for certain, each in turn
    has = [
        name
        for place, (name, chance) in enumerate(CHANCES.items())
        if rng.random() < chance * (SICKER if is_test else 1) or place == turn
    ]
    images = []
    for follow_up in range(min(int(rng.geometric(0.42)), options.slices_per_patient)):
        findings = tuple(name for name in has if rng.random() < SHOWN or follow_up == 0)
        view = str(rng.choice(["PA", "AP"], p=[0.6, 0.4] if not findings else [0.4, 0.6]))
        pixels, marks = draw_chest(rng, expose(rng, person, view == "AP"), findings, options.image_size_px)
        name = f"{number:08d}_{follow_up:03d}.png"
        place = folder / f"images_{1 + number * FOLDERS // (options.patients + 1):03d}" / "images"
        Image.fromarray(pixels).save(place / name, compress_level=3)
        label, years = "|".join(sorted(findings)) or NO_FINDING, age + follow_up // 3
        row = f"{name},{label},{follow_up:03d},{number:08d},{years:03d}Y,{sex},{view},2500,2048,0.171,0.171,"
        boxes = tuple(_box(name, finding, marks[finding]) for finding in findings if finding in BOXED and is_test)
        images.append(_Image(name, row, boxes, is_test))
    return images


def _box(name: str, finding: str, mark: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> str:
    """A row of the list of boxes: the tight box of a mark, in pixels of the published images."""
    scale = PUBLISHED_PX / mark.shape[0]
    rows, columns = np.flatnonzero(mark.any(1)), np.flatnonzero(mark.any(0))
    x, y = columns[0] * scale, rows[0] * scale
    width, height = (columns[-1] + 1) * scale - x, (rows[-1] + 1) * scale - y
    return f"{name},{BOXED[finding]},{x:g},{y:g},{width:g},{height:g},,,"


def _spoil(folder: Path) -> None:
    """Put the defects of images in: see the module's docstring."""
    files = sorted((folder / "images_001" / "images").iterdir())
    with Image.open(files[0]) as image:
        image.convert("RGBA").save(files[0])
    broken = files[1]
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    (files[0].parent / "00000000_000.png").write_bytes(files[2].read_bytes())
