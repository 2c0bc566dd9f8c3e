"""What a raw file is by its name."""

from pathlib import PurePath

NIFTI = (".nii", ".nii.gz")
HDF5 = (".h5", ".hdf5")
NUMPY = (".npy",)
VOLUMES = (*NIFTI, *HDF5, *NUMPY)


def is_volume(path: str | PurePath) -> bool:
    """Whether a file's name is that of a volume in one file (`scanline.core.volumes`)."""
    return str(path).lower().endswith(VOLUMES)
