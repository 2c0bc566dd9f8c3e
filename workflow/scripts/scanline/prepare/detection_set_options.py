"""Sets of images and boxes for detection: what they must hold, how they are exported, what is said of them."""

from typing import Literal

from pydantic import Field

from scanline.core.files import Placing
from scanline.core.options import Options

ExportFormat = Literal["coco", "yolo"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = ("coco", "yolo")
PartlyKnown = Literal["leave_out", "keep"]


class SetClasses(Options):
    """What a set is about."""

    targets: tuple[str, ...] = Field(min_length=1, description="The task's classes.")
    excluded_classes: tuple[str, ...] = Field(
        default=(), description="Classes that an image must not show beside no target."
    )


class ExpectedNegatives(Options):
    """How many images known to show none of the classes each subset must hold.

    Of those images and the ones with a box together: one without a box on which a class is unknown is neither.
    """

    share: float = Field(ge=0, le=1, description="Of the subset's images with a box or known to show none.")
    tolerance: float = Field(default=0.02, ge=0, le=1, description="Greatest deviation, either way.")


class Datasheet(Options):
    """What the numbers do not tell, after Gebru et al., "Datasheets for Datasets" (2021), printed as it stands."""

    motivation: str = Field(default="", description="What the set was made for.")
    collection: str = Field(default="", description="How images and boxes came about, and who drew them.")
    limits: str = Field(default="", description="What it is not to be used for, and what is known to be wrong with it.")


class DetectionSet(Options):
    """Tasks of a split whose sets are verified, analysed and, when they are asked for, exported."""

    split: str = Field(description="An entry of `splits` that does not leak.")
    tasks: tuple[str, ...] = Field(min_length=1, description="Entries of `tasks` of kind detect.")
    negatives: ExpectedNegatives | None = Field(
        default=None,
        description="Images known to show none of the task's classes, in each of train, val and test; null asks for"
        " nothing.",
    )
    files: Placing = Field(
        default="hard_link",
        description="How exported files come about where no pixel changes. A hard link is a relative symbolic link"
        " across file systems. copy: for a tool that writes into its images.",
    )
    file_names: Literal["pseudonym", "source"] = Field(
        default="pseudonym",
        description="Exported names: <source>_<patient>_<instance> with pseudonyms of patient and instance, or as the"
        " source calls them.",
    )
    partly_known: PartlyKnown = Field(
        default="leave_out",
        description="Exported images on which a class of the task is unknown. Training takes them and leaves that class"
        " out of the loss; other tools would take it for absent. keep: named there, in COCO as LVIS's"
        " not_exhaustive_category_ids, in YOLO not.",
    )
    previous_versions: dict[str, str] = Field(
        default={},
        description="Earlier versions of the set, by name: the path of a JSON file with `images` (subset to number) and"
        " `boxes` (class to number), such as the detection_set.json of that version.",
    )
    datasheet: Datasheet = Field(default=Datasheet(), description="What the numbers do not tell.")
