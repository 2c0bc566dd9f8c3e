"""DICOM and .nii.gz to PNG against what one would write, in one run on the same files: a table with ratios.

    make benchmark-conversion

Ours is what the export of a detection set does. Plain is pydicom, or nibabel, with numpy's windowing and Pillow's PNG,
one file after the other. They take turns; the shortest round of each counts. Both sides' files are read back afterwards
and must be equal pixel by pixel, or the benchmark fails.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow/scripts"))

import nibabel
import numpy as np
import pandas as pd
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from timing import timed

from scanline.prepare.set_export import write_pngs

SIDE_PX = 512
SLICES = 40
CENTER, WIDTH = 40.0, 80.0
LEAST_RATIO = 4.0


def draw_values(generator: np.random.Generator) -> NDArray[np.int16]:
    """A head as CT shows it, in HU: air, skull, and brain with noise, blurred as a scanner's kernel does."""
    y, x = np.mgrid[-1 : 1 : SIDE_PX * 1j, -1 : 1 : SIDE_PX * 1j]
    distance = np.hypot(x / 0.75, y / 0.9)
    noise = generator.normal(0, 9, (SIDE_PX, SIDE_PX))
    noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 4
    values = np.where(distance < 0.92, 35 + noise, np.where(distance < 1, 900, -1000 + noise))
    return np.asarray(np.rint(values), dtype=np.int16)


def write_dicom(path: Path, values: NDArray[np.int16]) -> None:
    """Write a slice as CT Image Storage, intercept -1024."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = (values + 1024).astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)


def plain_grey(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Values to grey as one would write it."""
    share = (values - (CENTER - WIDTH / 2)) / WIDTH
    return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)


def convert_dicom_plainly(paths: list[Path], targets: list[Path]) -> None:
    """Pydicom and Pillow."""
    for path, target in zip(paths, targets, strict=True):
        dataset = pydicom.dcmread(path)
        values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        Image.fromarray(plain_grey(values)).save(target)


def convert_nifti_plainly(path: Path, targets: list[Path]) -> None:
    """Nibabel and Pillow."""
    values = nibabel.load(path).get_fdata()
    for number, target in enumerate(targets):
        Image.fromarray(plain_grey(values[:, :, number].T)).save(target)


def named(folder: Path, count: int) -> list[Path]:
    """Where `count` pictures go."""
    folder.mkdir()
    return [folder / f"{number:04d}.png" for number in range(count)]


def require_equal(ours: list[Path], theirs: list[Path]) -> None:
    """Compare pictures pixel by pixel."""
    for one, other in zip(ours, theirs, strict=True):
        if not np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other))):
            sys.exit(f"{one} and {other} differ")


def main() -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=120, help="DICOM files")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    generator = np.random.default_rng(0)
    window = {"window_center_hu": CENTER, "window_width_hu": WIDTH}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{number:04d}.dcm" for number in range(args.slices)]
        for path in paths:
            write_dicom(path, draw_values(generator))
        volume = np.stack([draw_values(generator) for _ in range(SLICES)], axis=2).transpose(1, 0, 2)
        packed = folder / "volume.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), packed)
        dicom = pd.DataFrame({"path": [str(path) for path in paths], **window})
        nifti = pd.DataFrame({"path": str(packed), "frame_index": range(SLICES), **window})
        places = {kind: named(folder / kind, args.slices) for kind in ("ours", "theirs")}
        in_volume = {kind: named(folder / f"{kind}_volume", SLICES) for kind in ("ours", "theirs")}
        works = [
            (
                f"{args.slices} DICOM files to PNG",
                lambda: write_pngs(dicom, places["ours"]),
                lambda: convert_dicom_plainly(paths, places["theirs"]),
            ),
            (
                f"a .nii.gz volume to {SLICES} PNG",
                lambda: write_pngs(nifti, in_volume["ours"]),
                lambda: convert_nifti_plainly(packed, in_volume["theirs"]),
            ),
        ]
        rows = []
        for what, ours, theirs in works:
            times = [(timed(ours, 1)[0], timed(theirs, 1)[0]) for _ in range(args.rounds)]
            best, plain = (min(column) for column in zip(*times, strict=True))
            rows.append((what, best, plain, plain / best))
        require_equal(places["ours"], places["theirs"])
        require_equal(in_volume["ours"], in_volume["theirs"])
    for what, best, plain, ratio in rows:
        print(f"{what:32s} ours {best * 1000:8.1f} ms   plain {plain * 1000:8.1f} ms   {ratio:5.1f} times")
    slow = [what for what, *_, ratio in rows if ratio < LEAST_RATIO]
    if slow:
        sys.exit(f"below {LEAST_RATIO:g} times: {', '.join(slow)}")


if __name__ == "__main__":
    main()
