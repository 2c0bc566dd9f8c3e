"""What an adapter hands to the engine: the images of a source, as its layout and annotations tell them.

An adapter is a light module `scanline/curate/adapters/<name>.py` that knows one raw layout and nothing else. It
holds `class Options(scanline.core.options.Options)`, the keys of `layout` in the study file, and

    def read_entries(folder: Path, files: Sequence[str], options: Options)
        -> tuple[list[Entry], list[Reject], list[str]]

which sorts the manifest's files (paths relative to `folder`) into entries, rejects, and paths that are no part
of the layout. An adapter that knows images by their DICOM headers has `match_entries(folder, headers, options)`
instead, `headers` being the files with what the scan read of them; one whose files hold volumes has
`match_frames(folder, frames, options)`, `frames` being the files with the number of images in each; one whose boxes
are in shares of the image `match_sizes(folder, sizes, options)`. It opens annotations and no images. Every file stands
in exactly one of the three, as a path of an entry, as a file-level reject (action refused, `row` None), or among the
others; `scanline.curate.accounting` checks it. A refused row that tells of a finding in a volume names it (`lesions`),
so that the volume is not taken for one without.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from scanline.core.options import Options


@dataclass(frozen=True)
class Header:
    """What is read of a DICOM file's header; None where it says nothing.

    Attributes:
        patient: PatientID, as a digest (`scanline.core.identifiers.digest_of_identifier`).
        series: SeriesInstanceUID, as a digest.
        image: SOPInstanceUID, as a digest.
        number: InstanceNumber.
        position_mm: Of the slice, or the frame, along the normal of its plane.
        acquisition: What the headers table holds, by column.
    """

    patient: str | None = None
    series: str | None = None
    image: str | None = None
    number: int | None = None
    position_mm: float | None = None
    acquisition: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Box:
    """One box in continuous pixels, origin at the top left corner of the pixel grid.

    Attributes:
        label: The class as the source spells it.
        x: Left edge. A coordinate that the source wrote and that is no number is NaN.
        y: Top edge.
        width: Right edge minus left edge; not above 0 where the source's box is empty or inverted.
        height: Bottom edge minus top edge.
        row: The box's row in the annotation file where one table holds those of many images, from 0, the heading not
            counted; None where the file is the image's own and the boxes are in its order.
        path: The file that holds the box, where that is not the entry's annotation_path.
        problem: Why the adapter refuses the box, as a reject's reason; None where it has no objection.
    """

    label: str
    x: float
    y: float
    width: float
    height: float
    row: int | None = None
    path: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Entry:
    """One image of a source. Paths are relative to the source's folder.

    An image that only tables tell of has no file: its path, which the manifest does not list, is a name alone, and
    its size is the declared one.

    Attributes:
        path: The image file.
        patient_id: The patient as the source numbers them, unprefixed; None where unknown.
        volume_id: The series that the image is a slice of, unprefixed; None where unknown.
        slice_index: Position in the volume; None where the header is to tell it.
        boxes: All boxes of the image, also those that do not hold; None where nobody annotated it.
        declared_size: (width, height) that the annotation states, in pixels.
        annotation_path: The file that holds the annotation.
        mask_path: The mask of the source's `mask_class`.
        labels: Class as the source spells it to whether the image shows it (None: unknown), where the layout's own
            table says so: then boxes add places and decide nothing. None where labels come from boxes and masks.
        has_one_class: Whether the image has the one class that `labels` names, and none of the source's others. It is
            refused where that is an ignored one.
        metadata: More columns of the images table, such as age_years, sex, view; None where unknown.
        name: What stands behind the source's name in image_id; None for the path without its suffix.
        doubtful: Whether the source has a box of it that is of no class: no class without a box is then known.
        frame: Number of the image in a file that holds several, from 0; of its mask too, where that file does.
    """

    path: str
    patient_id: str | None
    volume_id: str | None
    slice_index: int | None
    boxes: tuple[Box, ...] | None
    declared_size: tuple[int, int] | None = None
    annotation_path: str | None = None
    mask_path: str | None = None
    labels: Mapping[str, bool | None] | None = None
    has_one_class: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)
    name: str | None = None
    doubtful: bool = False
    frame: int | None = None


@dataclass(frozen=True)
class LostLesion:
    """A finding that the source tells of in a volume, and that no image of it shows, as its box or row was refused.

    Attributes:
        volume: The volume_id of its images.
        label: The class as the source spells it; None where nobody can tell which it is.
        on_refused_slice: Whether it is known to lie on a slice that is no image. Else it may be on any of the volume.
    """

    volume: str
    label: str | None
    on_refused_slice: bool = False


@dataclass(frozen=True)
class Reject:
    """One row of the rejects table.

    Attributes:
        path: The file, relative to the source's folder.
        row: Index from 0 of the box or row inside the file; None where the whole file is meant.
        action: refused, repaired or noted.
        reason: A short word for counting, such as `box_outside_image`.
        detail: What was found, and what was done about it.
        lesions: What a refused row tells of volumes all the same: of several where any of them may be meant.
    """

    path: str
    row: int | None
    action: str
    reason: str
    detail: str
    lesions: tuple[LostLesion, ...] = ()


Entries = tuple[list[Entry], list[Reject], list[str]]


class Adapter(Protocol):
    """The interface of a module in scanline/curate/adapters/."""

    Options: type[Options]

    def read_entries(self, folder: Path, files: Sequence[str], options: Any) -> Entries:
        """Sort the files of a source into entries, rejects and others."""


@runtime_checkable
class HeaderAdapter(Protocol):
    """The interface of a module there that knows images by their DICOM headers."""

    Options: type[Options]

    def match_entries(self, folder: Path, headers: Mapping[str, Header | None], options: Any) -> Entries:
        """Sort the files of a source, None being the header of what is no DICOM file."""


@runtime_checkable
class FrameAdapter(Protocol):
    """The interface of a module there whose files hold several images each."""

    Options: type[Options]

    def match_frames(self, folder: Path, frames: Mapping[str, int], options: Any) -> Entries:
        """Sort the files of a source, by the number of images in each: 0 of what did not decode as any."""


@runtime_checkable
class SizeAdapter(Protocol):
    """The interface of a module there whose boxes are in shares of the image."""

    Options: type[Options]

    def match_sizes(self, folder: Path, sizes: Mapping[str, tuple[int, int] | None], options: Any) -> Entries:
        """Sort the files of a source, by their (width, height) in pixels: None of what did not decode."""


AnyAdapter = Adapter | HeaderAdapter | FrameAdapter | SizeAdapter
