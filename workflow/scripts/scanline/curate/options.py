"""How the raw files of a source become tables."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from scanline.core.grey_methods import GreyMethod
from scanline.core.options import Options

Repairs = Annotated[
    tuple[Literal["exif_orientation", "first_frame", "sixteen_bits"], ...],
    Field(
        description="What is mended where an image file needs it, and counted: exif_orientation turns it upright as its"
        " EXIF says, first_frame takes the first of several frames or pages, sixteen_bits stretches more than 8 bits"
        " a channel from the least value to the largest. Without it, EXIF counts for nothing, and the other two are"
        " refused."
    ),
]


class Reading(Options):
    """How the files of a source are read to grey; `curated/reading.json` keeps it for each source of a study."""

    window_center_hu: float = Field(default=40, description="Middle of the grey values of DICOM images.")
    window_width_hu: float = Field(default=80, gt=0, description="From their black to their white.")
    grey_scale: GreyMethod = Field(default="window", description="By what values become grey.")
    black_percentile: float = Field(default=0.5, ge=0, lt=100, description="Black, where percentiles are taken.")
    white_percentile: float = Field(default=99.5, gt=0, le=100, description="White, where percentiles are taken.")
    repairs: Repairs = ()


class PatientTable(Options):
    """A spreadsheet or CSV with one row a patient."""

    path: str = Field(description="File relative to the source's folder; .xlsx or .csv. Absent is fine: no columns.")
    patient_column: str = Field(description="Its column that holds the patient's number or id.")
    columns: dict[str, str] = Field(
        description="Metadata name (age_years, sex, or a name of your own) to the table's column."
    )
    values: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="Metadata name to a translation of the table's values, e.g. sex: {M: male}.",
    )


class LabelTable(Options):
    """A CSV or spreadsheet with one row an image: 1 or 0 for each class, empty where nobody looked."""

    path: str = Field(description="File relative to the source's folder; .csv or .xlsx. Absent is fine: no labels.")
    image_column: str = Field(
        default="image", description="Its column that names the image: a file name, with or without suffix, or a path."
    )
    columns: dict[str, str] = Field(min_length=1, description="Study class to the table's column.")


class CurateOptions(Options):
    """One source's layout and what its annotators looked for."""

    adapter: str = Field(description="A module of scanline/curate/adapters/: the raw layout.")
    layout: dict[str, Any] = Field(description="The adapter's own options; see the adapter's Options.")
    classes: dict[str, str] = Field(
        description="Class names as the source spells them to the study's; a name that is missing here is an error."
    )
    ignored_classes: tuple[str, ...] = Field(
        default=(), description="Class names of the source that the study has no use for: their boxes are counted."
    )
    annotated_classes: tuple[str, ...] = Field(
        description="Study classes that this source's annotators looked for; all others are unknown on its images."
    )
    mask_class: str | None = Field(default=None, description="Study class that the masks outline; null without masks.")
    repairs: Repairs = ()
    duplicate_files: Literal["keep", "refuse"] = Field(
        default="keep",
        description="Image files with equal bytes. keep: all; a group holds them together. refuse: of those with equal"
        " labels the first by path is kept, and where their labels differ none is.",
    )
    box_clip_px: float = Field(
        default=0,
        ge=0,
        description="A box that stands over the image's edge by at most this much is cut there and counted as"
        " repaired; any other is refused.",
    )
    patient_numbering: str | None = Field(
        default=None,
        description="Sources that name the same numbering share their patients: equal ids are one patient, never"
        " parted. Null: the source numbers its own.",
    )
    same_patient_id: Literal["note", "tie"] = Field(
        default="note",
        description="What is done where the layout tells several patients apart and their DICOM headers name the same"
        " PatientID. note: the rejects say so, as anonymisation often writes one PatientID into all files. tie: they"
        " are one patient, also with those of other sources of the same patient_numbering.",
    )
    window_center_hu: float = Field(
        default=40, description="Middle of the grey values of DICOM images, in HU (modality values if not CT)."
    )
    window_width_hu: float = Field(
        default=80, gt=0, description="From black to white of DICOM images, in HU; 80 around 40 shows the brain."
    )
    grey_scale: GreyMethod = Field(
        default="window",
        description="What values of DICOM images and of volumes become grey by. window: the one above. header_window:"
        " the first window of the header, where it is linear, else percentiles. percentiles: of the file's own values,"
        " for MR, which has no unit: of a slice where each has a file, else of the volume.",
    )
    black_percentile: float = Field(
        default=0.5, ge=0, lt=100, description="The value that percentiles make black, in percent of all pixels."
    )
    white_percentile: float = Field(default=99.5, gt=0, le=100, description="The value that they make white.")
    scan_shards: int = Field(
        default=1,
        ge=1,
        description="Into how many jobs the scan of the raw files is cut: several for a source of very many, to be"
        " shared by the nodes of a cluster, and so that a scan that was cut off goes on with the shards that are left.",
    )
    modality: str | None = Field(default=None, description="CT, MR, DX ...: DICOM's term, written to the images table.")
    patient_table: PatientTable | None = Field(default=None, description="Metadata joined by patient.")
    label_table: LabelTable | None = Field(
        default=None, description="Labels joined by image, besides those that boxes and masks give."
    )

    @model_validator(mode="after")
    def _used_or_ignored(self) -> Self:
        both = sorted(set(self.classes) & set(self.ignored_classes))
        if both:
            raise ValueError(f"each class in classes or in ignored_classes, not in both as {both[0]!r} is")
        return self

    @model_validator(mode="after")
    def _black_below_white(self) -> Self:
        if self.black_percentile >= self.white_percentile:
            raise ValueError("a black_percentile below white_percentile")
        return self

    def of_scan(self) -> dict[str, Any]:
        """The options that the pixels are read by."""
        return self.model_dump(include=set(Reading.model_fields))


class CurateSource(Options):
    """What the rule curate_source is told of one source."""

    folder: str = Field(description="Folder of the raw files, relative to the project.")
    labels: tuple[str, ...] = Field(min_length=1, description="The study's classes.")
    curate: CurateOptions = Field(description="The source's layout and what its annotators looked for.")


class MergeSources(Options):
    """What the rule merge_sources is told."""

    labels: tuple[str, ...] = Field(min_length=1, description="The study's classes.")
    reading: dict[str, Reading] = Field(
        default_factory=dict, description="How each source's files are read, to be kept for prediction."
    )
