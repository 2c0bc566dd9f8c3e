"""Where raw files are fetched from: one model a service. What they share stands in `FetchedSource`."""

from pathlib import PurePosixPath
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, model_validator

from scanline.core.options import Options

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
SLUG = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
LOOPBACK = ("127.0.0.1", "localhost", "::1")

LARGEST_UNPACKED = Field(
    default=None,
    gt=0,
    description="Most that one archive may become, in GB. Null: 100 times its own size, and 1 GB for small ones. Raise"
    " it for archives of masks, which pack better.",
)


def check_under_data(path: str) -> str:
    """Give `path` back if it is a folder under data/."""
    if not path.startswith("data/") or ".." in path.split("/"):
        raise ValueError("a folder under data/")
    return path


def check_file_path(name: str) -> str:
    """Give a name below a source's folder back if it cannot lead elsewhere and no part of it is hidden."""
    parts = name.split("/")
    if any(part in {"", ".", ".."} or part.startswith(".") for part in parts) or "\\" in name or "\0" in name:
        raise ValueError("a path below the source's folder, without .., hidden parts or a leading /")
    return name


def check_address(url: str) -> str:
    """Give an address back if it is one of HTTP, with nothing secret in it."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an address that begins with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("an address without a password: name environment variables instead")
    return url


DataFolder = Annotated[str, AfterValidator(check_under_data)]
FilePath = Annotated[str, AfterValidator(check_file_path)]
Address = Annotated[str, AfterValidator(check_address)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FetchedSource(Options):
    """What all methods that fetch files share."""

    path: DataFolder = Field(description="Folder that the files are written to, relative to the project.")
    sha256: dict[str, Digest] = Field(
        default={},
        description="SHA-256 by file, where it is known. Of other files it is recorded at first sight and compared in"
        " each later run.",
    )
    unpack: bool = Field(
        default=False,
        description="Unpack archives (.tar.gz, .tgz, .tar, .zip), each into a folder of its name beside it.",
    )
    largest_unpacked_gb: float | None = LARGEST_UNPACKED
    connections: int = Field(default=4, ge=1, le=32, description="Files fetched at the same time.")
    retries: int = Field(default=5, ge=0, le=50, description="Attempts after a failed one, for each file.")


class HttpFile(Options):
    """One file on a web server."""

    url: Address = Field(description="Its address, without secrets.")
    name: FilePath | None = Field(
        default=None, description="Its path below the source's folder; null for the last part of the address."
    )
    bytes: int | None = Field(default=None, ge=0, description="Its size, where it is known.")

    @model_validator(mode="after")
    def _named(self) -> Self:
        check_file_path(self.target)
        return self

    @property
    def target(self) -> str:
        """Where the file lands, below the source's folder."""
        return self.name or unquote(PurePosixPath(urlsplit(self.url).path).name)


class HttpSource(FetchedSource):
    """Files of web servers, such as figshare, Zenodo or PhysioNet."""

    method: Literal["http"] = Field(description="Fetched over HTTP.")
    files: tuple[HttpFile, ...] = Field(min_length=1, description="The files.")
    token_variable: str | None = Field(
        default=None,
        pattern=VARIABLE,
        description="Environment variable with a token, sent as `Authorization: Bearer`; null for none.",
    )
    user_variable: str | None = Field(
        default=None, pattern=VARIABLE, description="Environment variable with a user name; null for none."
    )
    password_variable: str | None = Field(
        default=None, pattern=VARIABLE, description="Environment variable with that user's password; null for none."
    )

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.user_variable is None) != (self.password_variable is None):
            raise ValueError("user_variable and password_variable together")
        if self.token_variable and self.user_variable:
            raise ValueError("either token_variable, or user_variable and password_variable")
        return self


class S3Source(FetchedSource):
    """Objects of a bucket of Amazon S3, or of any server that speaks its protocol."""

    method: Literal["s3"] = Field(description="Fetched from an S3 bucket.")
    bucket: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]+$", description="The bucket.")
    prefix: str = Field(
        default="", description="Objects whose key begins so; files are named by what follows its last slash."
    )
    pattern: str = Field(
        default="*", description="Of those, the ones whose name matches, as a shell would; `*` matches slashes too."
    )
    sample: int | None = Field(
        default=None,
        ge=1,
        description="How many of them to draw; null for all. A smaller sample is part of a larger one. The whole list"
        " is recorded.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the draw.")
    anonymous: bool = Field(default=False, description="The bucket is public: send no credentials.")
    endpoint_url: Address | None = Field(
        default=None, description="Another server than Amazon's; null: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, Amazon."
    )
    region: str | None = Field(default=None, description="Region of the bucket; null: AWS_DEFAULT_REGION, us-east-1.")


class KaggleSource(FetchedSource):
    """A data set of Kaggle, or the data of a competition whose rules were accepted on its page."""

    method: Literal["kaggle"] = Field(description="Fetched from Kaggle.")
    dataset: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+/[A-Za-z0-9_-]+$",
        description="The data set, as owner/name; null for a competition.",
    )
    competition: str | None = Field(
        default=None, pattern=SLUG, description="The competition's name in its address; null for a data set."
    )
    version: int | None = Field(
        default=None, ge=1, description="Version of the data set; null for the latest at the first download."
    )
    files: tuple[FilePath, ...] = Field(
        default=(), description="Files of it; empty for everything, in one archive of its name."
    )
    unpack: bool = Field(default=True, description="Unpack archives, each into a folder of its name beside it.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.dataset is None) == (self.competition is None):
            raise ValueError("either dataset or competition")
        if self.competition and self.version:
            raise ValueError("no version: competitions have none")
        return self


class DriveFile(Options):
    """One file on Google Drive."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="The long word in its link.")
    name: FilePath = Field(description="Its path below the source's folder.")


class GdriveSource(FetchedSource):
    """Files of Google Drive that are shared with anyone who has the link."""

    method: Literal["gdrive"] = Field(description="Fetched from Google Drive.")
    files: tuple[DriveFile, ...] = Field(default=(), description="The files; empty where a folder is named.")
    folder: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="The long word in a folder's link: all files in it. Null where files are named.",
    )
    how_to_get: str = Field(
        default="", description="One line that says where the link is to be had, for a study that names neither."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.files and self.folder) or not (self.files or self.folder or self.how_to_get):
            raise ValueError("either files or folder, or how_to_get where the user has to set one of them")
        return self


class RoboflowSource(FetchedSource):
    """A version of a Roboflow project, in one of its export formats."""

    method: Literal["roboflow"] = Field(description="Fetched from Roboflow.")
    workspace: str = Field(pattern=SLUG, description="The workspace's name in its address.")
    project: str = Field(pattern=SLUG, description="The project's name in its address.")
    version: int = Field(ge=1, description="The version.")
    export_format: str = Field(default="coco", pattern=r"^[a-z0-9-]+$", description="The export's format.")
    api_url: Address = Field(default="https://api.roboflow.com", description="Roboflow's address for programs.")
    unpack: bool = Field(default=True, description="Unpack the export into a folder of its name beside it.")
