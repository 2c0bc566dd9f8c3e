"""DICOM volumes without annotations, a folder a series: negatives, as whoever collected them declared.

They show none of the source's `annotated_classes`; where that names none, nothing is known of them.
"""

from collections.abc import Mapping
from pathlib import Path

from scanline.core.options import Options as BaseOptions
from scanline.curate.dicom_volumes import VolumePattern, find_volumes
from scanline.curate.entries import Entries, Entry, Header


class Options(BaseOptions):
    """Which folders are volumes."""

    volume: VolumePattern = ".+"


def match_entries(folder: Path, headers: Mapping[str, Header | None], options: Options) -> Entries:
    """Take every slice as looked at and free of all that `annotated_classes` names.

    Returns:
        Entries by path; rejects, see `find_volumes`; the files in other folders.

    Raises:
        InputError: If there is no folder of a volume.
    """
    volumes, rejects, others = find_volumes(folder, headers, options.volume)
    entries = [
        Entry(path, volume.patient, volume.name, None, ()) for volume in volumes.values() for path in volume.paths
    ]
    return entries, rejects, others
