"""The frames of a multi-frame DICOM file: what its functional groups say of each (PS3.3, C.7.6.16).

An enhanced file tells slope, window and place not at its top, but in a sequence for all frames together and in one
with an item a frame. Of both only the elements of `GROUPS` are kept.
"""

from collections.abc import Collection, Iterator
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from scanline.core.dicom_damage import damage_told
from scanline.core.dicom_header import value_of
from scanline.core.images import ImageError

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
FUNCTIONAL_GROUPS = (SHARED, PER_FRAME)
# Sequence inside a functional group to the elements that are kept of its one item.
GROUPS = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
}
OF_FRAME = tuple(name for names in GROUPS.values() for name in names)
PLACES = {"ImagePositionPatient", "ImageOrientationPatient"}


def drop_other_groups(dataset: Dataset) -> None:
    """Delete from a data set's functional groups all that GROUPS does not name."""
    for name in FUNCTIONAL_GROUPS:
        for group in dataset[name].value if name in dataset else ():
            _keep(group, GROUPS)
            for sequence, elements in GROUPS.items():
                for item in group[sequence].value if sequence in group else ():
                    _keep(item, elements)


def frame_count(dataset: Dataset) -> int:
    """Number of frames; 1 where the header says nothing, or nothing that can be read."""
    with damage_told():
        value = value_of(dataset, "NumberOfFrames")
    return max(int(value), 1) if isinstance(value, int) else 1


def has_groups(dataset: Dataset) -> bool:
    """Whether a file has functional groups."""
    return any(name in dataset for name in FUNCTIONAL_GROUPS)


def of_frame(dataset: Dataset, number: int) -> Dataset:
    """A data set of what is known of one frame: of its own functional group, else of the shared one, else of the file.

    The file's own data set where it has one frame and no groups. A place at the top of a file of several frames is not
    that of each, and left out.

    Raises:
        ImageError: If the file has groups of its own for some of its frames only.
    """
    count = frame_count(dataset)
    if count == 1 and not has_groups(dataset):
        return dataset
    shared, own = (dataset[name].value if name in dataset else () for name in FUNCTIONAL_GROUPS)
    if len(own) not in {0, count}:
        raise ImageError(f"damaged DICOM: {count} frames, its header tells of {len(own)}")
    frame = Dataset()
    with damage_told():
        frame.update({Tag(name): dataset.get_item(name) for name in _told_by(dataset, count)})
        for group in [*shared[:1], *own[number : number + 1]]:
            for element in _elements(group):
                frame[element.tag] = element
    return frame


def _told_by(dataset: Dataset, count: int) -> list[str]:
    names = OF_FRAME if count == 1 else [name for name in OF_FRAME if name not in PLACES]
    return [name for name in (*names, "PhotometricInterpretation") if name in dataset]


def _elements(group: Dataset) -> Iterator[Any]:
    for name, elements in GROUPS.items():
        for item in group[name].value[:1] if name in group else ():
            yield from (item.get_item(element) for element in elements if element in item)


def _keep(dataset: Dataset, names: Collection[str]) -> None:
    wanted = {Tag(name) for name in names}
    for tag in [tag for tag in dataset.keys() if tag not in wanted]:  # noqa: SIM118 (of a Dataset `in` gives elements)
        del dataset[tag]
