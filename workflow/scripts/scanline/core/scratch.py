"""The pixel cache on a node's own disk, where the site names a folder there: it is read in a new order each epoch."""

import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.files import sha256_of_text, written_aside
from scanline.core.log import logger

SCRATCH = "SCANLINE_SCRATCH"
SPARE = 1.05  # the copy must leave a little of the disk to others


def map_array(path: Path) -> NDArray[np.uint8]:
    """Map a .npy file into memory, from a copy in the folder that the variable SCANLINE_SCRATCH names, if it does.

    Args:
        path: The array; what is named after it elsewhere (digests, keys, messages) stays with this path.

    Returns:
        The array, uint8, read-only.

    Raises:
        InputError: If the folder is not there.
    """
    array: NDArray[np.uint8] = np.load(local_copy(path), mmap_mode="r")
    return array


def local_copy(path: Path) -> Path:
    """Copy a file to the node's scratch folder, unless a job before did, and give the copy's path.

    A copy's name tells the file's place, size, time and inode, so that another file never passes for it. Where the
    disk is too full the file itself is used, and the log says so.

    Raises:
        InputError: If the folder is not there.
    """
    folder = os.environ.get(SCRATCH)
    if not folder:
        return path
    scratch = Path(folder)
    if not scratch.is_dir():
        raise InputError(
            f"scratch folder {folder}",
            found="no such folder on this node",
            expected="a folder of the node's own disk",
            next_step="Mend scratch in profiles/slurm/site.yaml, or set it to null.",
        )
    facts = path.stat()
    identity = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns} {facts.st_ino}"
    copy = scratch / f"scanline_{sha256_of_text(identity)[:16]}{path.suffix}"
    if copy.exists():
        logger.info("%s: read from %s, copied by a job before", path, copy)
        return copy
    free = shutil.disk_usage(scratch).free
    if free < SPARE * facts.st_size:
        logger.warning(
            "%s: not copied: %d MB free in %s, %d MB needed", path, free // 10**6, scratch, facts.st_size // 10**6
        )
        return path
    with written_aside(copy) as aside:
        shutil.copyfile(path, aside)
    logger.info("%s: read from a copy, %s", path, copy)
    return copy
