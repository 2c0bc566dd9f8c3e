"""The tables that stages hand to each other: their schemas, validated on write and on read.

Keys are strings; coordinates are continuous pixels with the origin at the top left corner of the pixel grid;
unknown is null and never false.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from pandera.errors import SchemaError
from pandera.pandas import Check, Column, DataFrameSchema

from scanline.core.errors import InputError
from scanline.core.files import written_aside

SUBSETS = ("train", "val", "test", "external")
ACTIONS = ("refused", "repaired", "noted")
OFFICIAL_SUBSETS = ("train", "val", "test", "train_val")


def _text(*, nullable: bool = False, unique: bool = False) -> Column:
    return Column("str", nullable=nullable, unique=unique, coerce=True)


def _whole(*, nullable: bool = False, minimum: int | None = 0) -> Column:
    checks = None if minimum is None else Check.ge(minimum)
    return Column("Int64" if nullable else "int64", checks, nullable=nullable, coerce=True)


def _length(*, positive: bool = False) -> Column:
    return Column("float64", Check.gt(0) if positive else None, coerce=True)


def _whole_or_missing() -> Column:
    return Column("Int64", Check.ge(0), nullable=True, coerce=True, required=False)


def file_keys(images: pd.DataFrame) -> pd.Series:
    """The file, and the frame of a file of several images, of each image; null where it has none."""
    if "frame_index" not in images:
        return images["path"]
    frames = images["frame_index"].astype("Int64").astype("str").fillna("")
    return images["path"].astype("str") + ("#" + frames).where(images["frame_index"].notna(), "")


def _each_file_once(images: pd.DataFrame) -> bool:
    return not file_keys(images).dropna().duplicated().any()


def _is_thumbnail(content: object) -> bool:
    return isinstance(content, bytes) and len(content) == THUMBNAIL_PX**2


FILES = DataFrameSchema(
    {"path": _text(unique=True), "bytes": _whole(), "sha256": _text()},
    strict=True,
    ordered=True,
    name="files",
)

IMAGES = DataFrameSchema(
    {
        "image_id": _text(unique=True),
        "source": _text(),
        "path": Column("str", nullable=True, coerce=True),  # null where only tables tell of the image
        "patient_id": _text(nullable=True),
        "volume_id": _text(nullable=True),
        "slice_index": _whole(nullable=True),
        "width": _whole(nullable=True, minimum=1),
        "height": _whole(nullable=True, minimum=1),
        "modality": _text(nullable=True),
        "sha256": _text(nullable=True),
        "phash": _text(nullable=True),
        "mask_path": _text(nullable=True),
        "grey_mean": Column("float64", Check.in_range(0, 255), nullable=True, coerce=True, required=False),
        "grey_sd": Column("float64", Check.in_range(0, 255), nullable=True, coerce=True, required=False),
        "grey_min": Column("Int64", Check.in_range(0, 255), nullable=True, coerce=True, required=False),
        "grey_max": Column("Int64", Check.in_range(0, 255), nullable=True, coerce=True, required=False),
        "age_years": Column("float64", Check.ge(0), nullable=True, coerce=True, required=False),
        "sex": Column("str", Check.isin(["female", "male"]), nullable=True, coerce=True, required=False),
        "view": Column("str", nullable=True, coerce=True, required=False),
        "window_center_hu": Column("float64", nullable=True, coerce=True, required=False),  # of DICOM images
        "window_width_hu": Column("float64", Check.gt(0), nullable=True, coerce=True, required=False),
        "repairs": Column("str", nullable=True, coerce=True, required=False),  # made before the image was read
        "follow_up": Column("Int64", Check.ge(0), nullable=True, coerce=True, required=False),
        "official_subset": Column("str", Check.isin(OFFICIAL_SUBSETS), nullable=True, coerce=True, required=False),
        "frame_index": _whole_or_missing(),  # of an image in a file that holds several
    },
    checks=Check(_each_file_once, error="each file, or frame of a file, once"),
    name="images",
)

# What is known of a DICOM file's acquisition, by the columns of scanline.core.dicom_header.
HEADER_NUMBERS = (
    "slice_position_mm",
    "magnetic_field_t",
    "slice_thickness_mm",
    "spacing_between_slices_mm",
    "row_spacing_mm",
    "column_spacing_mm",
    "repetition_time_ms",
    "echo_time_ms",
    "inversion_time_ms",
    "flip_angle_degrees",
    "tube_voltage_kv",
    "bits_stored",
)
HEADER_TERMS = ("modality", "acquisition_type", "body_part", "laterality", "photometric", "transfer_syntax")
HEADERS = DataFrameSchema(
    {
        "image_id": _text(unique=True),
        **{name: Column("float64", nullable=True, coerce=True) for name in HEADER_NUMBERS},
        **{name: _text(nullable=True) for name in HEADER_TERMS},
    },
    strict=True,
    ordered=True,
    name="headers",
)

THUMBNAIL_PX = 32

# Of the images that have a phash: the pixels that it was made from, (32, 32) uint8, row by row.
THUMBNAILS = DataFrameSchema(
    {
        "image_id": _text(unique=True),
        "thumbnail": Column("object", Check(_is_thumbnail, element_wise=True, error="1,024 bytes"), coerce=True),
    },
    strict=True,
    ordered=True,
    name="thumbnails",
)

BOXES = DataFrameSchema(
    {
        "image_id": _text(),
        "label": _text(),
        "x": _length(),
        "y": _length(),
        "width": _length(positive=True),
        "height": _length(positive=True),
    },
    strict=True,
    ordered=True,
    name="boxes",
)

REJECTS = DataFrameSchema(
    {
        "source": _text(),
        "path": _text(),
        "row": _whole(nullable=True),
        "stage": _text(),
        "action": Column("str", Check.isin(ACTIONS), coerce=True),
        "reason": _text(),
        "detail": _text(),
    },
    strict=True,
    ordered=True,
    name="rejects",
)

GROUPS = DataFrameSchema(
    {"image_id": _text(unique=True), "group_id": _text()}, strict=True, ordered=True, name="groups"
)

SPLIT = DataFrameSchema(
    {
        "image_id": _text(unique=True),
        "group_id": _text(),
        "subset": Column("str", Check.isin(SUBSETS), coerce=True),
        "dropped_by": _text(nullable=True),
        "reason": _text(nullable=True),
        "copies": Column("Int64", Check.ge(1), nullable=True, coerce=True, required=False),
    },
    strict=True,
    ordered=True,
    name="split",
)


def drawn_images(split: pd.DataFrame) -> pd.DataFrame:
    """The rows of a SPLIT table that later stages work on: none that was dropped, and as often as `copies` says.

    `copies` is how often an image is drawn in an epoch, null for once; without that column each is drawn once.
    """
    kept = split[split["dropped_by"].isna()]
    if "copies" not in kept:
        return kept
    return kept.loc[kept.index.repeat(kept["copies"].fillna(1).astype("int64"))].drop(columns="copies")


def labels_schema(classes: Sequence[str]) -> DataFrameSchema:
    """Schema of a labels table: one nullable boolean a class, null where nobody looked."""
    columns = {name: Column("boolean", nullable=True, coerce=True) for name in classes}
    return DataFrameSchema({"image_id": _text(unique=True), **columns}, strict=True, ordered=True, name="labels")


def make_table(rows: Sequence[dict[str, object]], schema: DataFrameSchema) -> pd.DataFrame:
    """Build a validated table from rows; columns that no row names are left out unless the schema requires them."""
    required = [name for name, column in schema.columns.items() if column.required]
    named = list(dict.fromkeys([*required, *(key for row in rows for key in row)]))
    return validate(pd.DataFrame(rows, columns=named), schema, f"{schema.name} table")


def validate(table: pd.DataFrame, schema: DataFrameSchema, where: str | Path) -> pd.DataFrame:
    """Check a table against its schema and coerce its types.

    Raises:
        InputError: With the table's place, the column, and the first values that do not fit.
    """
    try:
        return schema.validate(table)
    except SchemaError as error:
        cases = error.failure_cases
        found = (
            ", ".join(repr(value) for value in cases["failure_case"].head(3))
            if isinstance(cases, pd.DataFrame) and "failure_case" in cases
            else str(cases)
        )
        column = getattr(error.schema, "name", None) or schema.name
        raise InputError(
            f"{where}: column {column}",
            found=found,
            expected=str(error.check),
            next_step="This table was changed by hand or made by another version: delete it and run again.",
        ) from error


def write_table(table: pd.DataFrame, path: Path, schema: DataFrameSchema | None = None) -> None:
    """Validate a table (where it has a schema) and write it as Parquet, or as CSV where the suffix says so."""
    if schema is not None:
        table = validate(table, schema, path)
    with written_aside(path) as aside:
        if path.suffix == ".csv":
            table.to_csv(aside, index=False)
        else:
            table.to_parquet(aside, index=False)


def read_table(path: Path, schema: DataFrameSchema | None = None) -> pd.DataFrame:
    """Read a Parquet table and validate it.

    Raises:
        InputError: If the file is missing, no Parquet, or does not fit its schema.
    """
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(
            path,
            found=str(error),
            expected="a Parquet table",
            next_step=f"Delete it and make it again: snakemake {path}",
        ) from error
    return table if schema is None else validate(table, schema, path)
