"""Files that hold a whole volume, as an array of slices: NIfTI, HDF5, NumPy.

    .nii, .nii.gz   three axes: an image's column, its row, its slice
    .h5, .hdf5      fastMRI: the one real data set of three axes (slices, rows, columns), of several reconstruction_rss
    .npy            three axes (slices, rows, columns), as MRNet has them

Nothing is turned or resampled: a pixel is where the file has it.
"""

import io
import zlib
from typing import Any

import h5py
import nibabel
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from scanline.core.file_names import HDF5, NIFTI
from scanline.core.images import ImageError

RECONSTRUCTION = "reconstruction_rss"  # fastMRI's own, root of the sum of squares


def decode_volume(name: str, content: bytes) -> NDArray[Any]:
    """Decode a volume file.

    Args:
        name: The file's name, which tells its format.
        content: Its bytes.

    Returns:
        Shape (slices, height, width), of any real type.

    Raises:
        ImageError: If it is no such file, damaged, or holds no volume of real numbers.
    """
    lower = name.lower()
    try:
        if lower.endswith(NIFTI):
            values = _decode_nifti(content, is_packed=lower.endswith(".gz"))
        elif lower.endswith(HDF5):
            values = _decode_hdf5(content)
        else:
            values = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, TypeError, RuntimeError, zlib.error) as error:
        raise ImageError(f"damaged volume: {' '.join(str(error).split()) or type(error).__name__}") from error
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise ImageError(f"no NIfTI file: {error}") from error
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "biuf":
        raise ImageError(f"an array of {values.dtype} and shape {values.shape}, expected a volume of real numbers")
    return values


def _decode_nifti(content: bytes, *, is_packed: bool) -> NDArray[Any]:
    plain = igzip.decompress(content) if is_packed else content  # type: ignore[no-untyped-call]
    image = nibabel.Nifti1Image.from_bytes(plain)
    values = np.asanyarray(image.dataobj)
    return values.transpose(2, 1, 0) if values.ndim == 3 else values


def _decode_hdf5(content: bytes) -> NDArray[Any]:
    with h5py.File(io.BytesIO(content), "r") as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: _note_volume(found, name, item))
        name = RECONSTRUCTION if RECONSTRUCTION in found else next(iter(found), None)
        if name is None or (len(found) > 1 and name != RECONSTRUCTION):
            raise ImageError(f"HDF5 with {len(found)} real data sets of three axes, expected one, or {RECONSTRUCTION}")
        return np.asarray(found[name][()])


def _note_volume(found: dict[str, Any], name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset) and item.ndim == 3 and item.dtype.kind in "biuf":
        found[name] = item
