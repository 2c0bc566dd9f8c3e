"""Where a source's raw files come from."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator

from scanline.core.options import Options, read_options


class LocalSource(Options):
    """Raw files that are on this machine already; they are read and never changed."""

    method: Literal["local"] = Field(description="Files on this machine.")
    path: str = Field(description="Folder of the raw files, or a link to it, relative to the project.")
    how_to_get: str = Field(description="One line that says how to get the data, shown where `path` is missing.")


class PhantomSource(Options):
    """Raw files drawn by the phantom generator in a study's published layout: no real data."""

    method: Literal["phantom"] = Field(description="Drawn, not fetched.")
    path: str = Field(description="Folder that the phantom is written to, relative to the project.")
    layout: str = Field(description="A module of scanline/acquire/phantoms/: the published layout to write.")
    patients: int = Field(ge=3, description="Patients to draw.")
    slices_per_patient: int = Field(ge=2, description="Axial slices of each head.")
    image_size_px: int = Field(ge=32, description="Width and height of each slice.")
    seed: int = Field(default=0, ge=0, description="Seed of everything drawn.")

    @field_validator("path")
    @classmethod
    def _under_data(cls, path: str) -> str:
        if not path.startswith("data/") or ".." in path.split("/"):
            raise ValueError("a folder under data/")
        return path


AcquireOptions = Annotated[LocalSource | PhantomSource, Field(discriminator="method")]


class _Method(Options):
    """The key that tells which model the other keys belong to."""

    model_config = ConfigDict(extra="ignore")

    method: Literal["local", "phantom"] = Field(description="How the raw files are had.")


def read_acquire_options(text: str) -> LocalSource | PhantomSource:
    """Parse the JSON of a source's `acquire` key into the model of its method.

    Raises:
        InputError: If the text is no JSON, the method is unknown, or the rest does not fit it.
    """
    if read_options(_Method, text).method == "local":
        return read_options(LocalSource, text)
    return read_options(PhantomSource, text)
