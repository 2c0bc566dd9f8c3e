"""Files that hold a whole volume, as an array of slices: NIfTI, HDF5, NumPy.

    .nii, .nii.gz   three axes: an image's column, its row, its slice
    .h5, .hdf5      fastMRI: the one real data set of three axes (slices, rows, columns), of several reconstruction_rss
    .npy            three axes (slices, rows, columns), as MRNet has them

Nothing is turned or resampled: a pixel is where the file has it.
"""

import io
import zlib
from typing import Any, NamedTuple

import h5py
import nibabel
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from scanline.core.file_names import HDF5, NIFTI
from scanline.core.images import ImageError

RECONSTRUCTION = "reconstruction_rss"  # fastMRI's own, root of the sum of squares


class Volume(NamedTuple):
    """A volume.

    Attributes:
        values: Shape (slices, height, width), of any real type.
        affine: From an image's column, row and slice to mm, the first three rows of nibabel's affine, row by row; None
            of a file that is not NIfTI, or whose header has neither an sform nor a qform.
    """

    values: NDArray[Any]
    affine: tuple[float, ...] | None = None


def decode_volume(name: str, content: bytes) -> NDArray[Any]:
    """The values of a volume file; see `read_volume`."""
    return read_volume(name, content).values


def read_volume(name: str, content: bytes) -> Volume:
    """Decode a volume file.

    Args:
        name: The file's name, which tells its format.
        content: Its bytes.

    Raises:
        ImageError: If it is no such file, damaged, or holds no volume of real numbers.
    """
    lower = name.lower()
    affine = None
    try:
        if lower.endswith(NIFTI):
            values, affine = _decode_nifti(content, is_packed=lower.endswith(".gz"))
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
    return Volume(values, affine)


def _decode_nifti(content: bytes, *, is_packed: bool) -> Volume:
    plain = igzip.decompress(content) if is_packed else content  # type: ignore[no-untyped-call]
    image = nibabel.Nifti1Image.from_bytes(plain)
    values = np.asanyarray(image.dataobj)
    has_place = image.header["sform_code"] > 0 or image.header["qform_code"] > 0
    affine = tuple(float(value) for value in np.asarray(image.affine)[:3].ravel()) if has_place else None
    return Volume(values.transpose(2, 1, 0) if values.ndim == 3 else values, affine)


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
