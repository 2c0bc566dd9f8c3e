"""Phantom knees on sagittal MRI: femur and tibia, menisci as bow ties and triangles, tears as bright clefts in them.

Of n slices the outer ones cut the body of the lateral or the medial meniscus, a bow tie; those further in cut its two
horns, two triangles; the middle ones pass between the menisci. A tear is a cleft in one of the six regions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from scanline.acquire.phantoms.ich_slices import box_of
from scanline.acquire.phantoms.shapes import blur

# The six regions, as the annotators of the study meniscus call them.
LATERAL = ("LatAntHorn", "LatMenBody", "LatPosHorn")
MEDIAL = ("MedAntHorn", "MedMenBody", "MedPosHorn")
REGIONS = (*LATERAL, *MEDIAL)
ROOT_UID = "1.2.826.0.1.3680043.8.498.8"  # pydicom's own root, for made instances
FIELD_OF_VIEW_MM = 84.0
SPACING_MM = 4.0
AIR, MUSCLE, BONE, CARTILAGE, FLUID, MENISCUS = 20.0, 330.0, 420.0, 820.0, 1000.0, 90.0
NOISE_SD = 22.0
WAVES, TEXTURE = 7, 55.0
WIDTH_MM = 80.0  # from the lateral to the medial edge
INNER_MM, OUTER_MM, WEDGE_MM = 6.0, 25.0, 11.0  # a horn from its tip to its base, and how high that is
SMALLEST_MM2 = 10.0  # of a region that annotators see
BODY_MM = 4.0  # height of a bow tie in its middle

Box = tuple[str, float, float, float, float]  # region, x, y, width, height in pixels


@dataclass(frozen=True)
class Knee:
    """A knee: where its menisci are torn (regions), how it lies, how large and bright it is, its marrow and muscle.

    waves: Shape (7, 4): of each wave of the texture its vector in radians a mm (to the back, up, to the middle) and its
    phase in radians. No two knees share theirs, so that no two look like copies of each other.
    """

    torn: tuple[str, ...]
    shift_mm: tuple[float, float]
    slope: float
    scale: float
    gain: float
    waves: NDArray[np.float64]


@dataclass(frozen=True)
class KneeSlice:
    """A slice: stored values, shape (size, size), whole numbers of 12 bits; and the boxes of its tears."""

    values: NDArray[np.uint16]
    boxes: tuple[Box, ...]


def draw_knee(rng: np.random.Generator, torn: tuple[str, ...]) -> Knee:
    """Draw a knee that is torn in these regions; none for a healthy one."""
    shift = (float(rng.uniform(-6, 6)), float(rng.uniform(-6, 6)))
    directions = rng.normal(size=(WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = 2 * np.pi * directions / rng.uniform(14, 45, (WAVES, 1))
    waves = np.concatenate([vectors, rng.uniform(0, 2 * np.pi, (WAVES, 1))], axis=1)
    slope, scale, gain = (float(rng.uniform(*bounds)) for bounds in ((-0.12, 0.12), (0.88, 1.1), (0.8, 1.3)))
    return Knee(torn, shift, slope, scale, gain, waves)


def draw_slice(rng: np.random.Generator, knee: Knee, place: float, size_px: int) -> KneeSlice:
    """Draw a slice of a knee.

    Args:
        rng: Of the noise, and of where a cleft runs.
        knee: The knee.
        place: From 0, the lateral edge, to 1, the medial one.
        size_px: Width and height.
    """
    pixel = FIELD_OF_VIEW_MM / size_px
    offsets = (np.arange(size_px, dtype=np.float32) + 0.5) * pixel - FIELD_OF_VIEW_MM / 2
    x = (offsets[None, :] - knee.shift_mm[0]) / knee.scale  # to the back
    y = (-offsets[:, None] - knee.shift_mm[1]) / knee.scale - knee.slope * x  # up, from the joint line
    image = np.full((size_px, size_px), AIR, np.float32)
    image[np.hypot(x / 39, y / 60) < 1] = MUSCLE
    image[np.hypot(x, y - 27) < 26] = CARTILAGE
    image[np.hypot(x, y - 27) < 23.5] = BONE
    image[(np.abs(x) < 29) & (y < -3)] = CARTILAGE
    image[(np.abs(x) < 28) & (y < -5.5)] = BONE
    image[(np.abs(x) < 27) & (y >= -3) & (y < -1.2) & (image == MUSCLE)] = FLUID
    soft = (image == MUSCLE) | (image == BONE)
    image[soft] += _texture(knee, x, y, place)[soft]
    boxes: list[Box] = []
    for region, mask in _regions(x, y, place):
        image[mask] = MENISCUS
        if region in knee.torn and mask.sum() * pixel**2 > SMALLEST_MM2:
            image[mask & _cleft(rng, x, y, region)] = FLUID
            boxes.append((region, *box_of(mask)))
    noisy = blur(image, 0.15) * knee.gain + rng.normal(0, NOISE_SD, image.shape)
    return KneeSlice(np.clip(np.rint(noisy), 0, 4095).astype(np.uint16), tuple(boxes))


def _texture(knee: Knee, x: NDArray[np.float32], y: NDArray[np.float32], place: float) -> NDArray[np.float32]:
    """What marrow and muscle differ by from their mean, shape (size, size)."""
    depth = np.float32((place - 0.5) * WIDTH_MM)
    total = sum(np.cos(a * x + b * y + c * depth + phase) for a, b, c, phase in knee.waves.astype(np.float32))
    return np.asarray(TEXTURE * total, dtype=np.float32)


def _regions(x: NDArray[np.float32], y: NDArray[np.float32], place: float) -> list[tuple[str, NDArray[np.bool_]]]:
    """The regions of the meniscus that a slice cuts, with their pixels."""
    names = LATERAL if place < 0.5 else MEDIAL
    depth = abs(place - 0.5) * 2  # 1 at the edge of the knee, 0 in its middle
    if not 0.25 < depth < 0.98:
        return []
    out = np.abs(x)
    horn = (
        (out > INNER_MM) & (out < OUTER_MM) & (y > -3) & (y + 3 < WEDGE_MM * (out - INNER_MM) / (OUTER_MM - INNER_MM))
    )
    if depth < 0.7:
        return [(names[0], horn & (x < 0)), (names[2], horn & (x > 0))]
    middle = (out < OUTER_MM) & (y > -3) & (y + 3 < BODY_MM)
    return [(names[1], horn | middle)]


def _cleft(rng: np.random.Generator, x: NDArray[np.float32], y: NDArray[np.float32], region: str) -> NDArray[np.bool_]:
    """Pixels within a millimetre of a line through a region."""
    centre = {"Ant": -18.0, "Pos": 18.0}.get(region[3:6], 18.0 if rng.random() < 0.5 else -18.0)
    centre += float(rng.uniform(-1.5, 1.5))
    angle = float(rng.uniform(0.6, 1.2)) * (-1 if centre > 0 else 1)
    distance = (x - centre) * np.sin(angle) - y * np.cos(angle)
    near: NDArray[np.bool_] = (np.abs(distance) < 1.1) & (np.abs(x - centre) < 8)
    return near


def dicom_of(one: KneeSlice, patient: int, index: int, number: int, **fields: object) -> FileDataset:
    """A slice as MR Image Storage, 12 bits stored in 16, with its place in space.

    Args:
        one: The slice.
        patient: Number of the patient, of whom there is one series.
        index: The slice's position, from 0 at the lateral edge.
        number: InstanceNumber.
        fields: Elements to set beside, or instead.
    """
    size = one.values.shape[0]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"{ROOT_UID}.{patient}.{number}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.InstanceNumber = f"{ROOT_UID}.{patient}", number
    dataset.PatientID, dataset.PatientName, dataset.Modality = str(patient), "Phantom^Knee", "MR"
    dataset.BodyPartExamined, dataset.MRAcquisitionType = "KNEE", "3D"
    dataset.MagneticFieldStrength, dataset.SliceThickness = 3, SPACING_MM
    dataset.PixelSpacing = [FIELD_OF_VIEW_MM / size] * 2
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.ImagePositionPatient = [-index * SPACING_MM, 0, 0]
    dataset.Rows = dataset.Columns = size
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    for name, value in fields.items():
        setattr(dataset, name, value)
    dataset.PixelData = one.values.astype("<u2").tobytes()
    return dataset
