"""Data sets and competitions of Kaggle: its own client (kagglesdk) finds the files, the common download fetches them.

kagglesdk is what the command `kaggle` is built on. That command's own download keeps no record and unpacks without
checks, and importing it looks for credentials in the home folder; so it is left out.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import requests
from kagglesdk import KaggleClient
from kagglesdk.competitions.types.competition_api_service import (
    ApiDownloadDataFileRequest,
    ApiDownloadDataFilesRequest,
)
from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

from scanline.acquire.answers import check_answer
from scanline.acquire.download import Remote, Request
from scanline.acquire.environment import credential
from scanline.acquire.fetched_options import KaggleSource
from scanline.core.errors import InputError

TOKEN = "KAGGLE_API_TOKEN"
HOW = f"Set {TOKEN}, or KAGGLE_USERNAME and KAGGLE_KEY, from kaggle.com/settings."


def remotes_of(options: KaggleSource) -> Sequence[Remote]:
    """The files that the source names, or the one archive of everything."""
    name = options.dataset.split("/")[1] if options.dataset else str(options.competition)
    version = f"@{options.version}" if options.version else ""
    place = f"kaggle:{options.dataset or options.competition}{version}"
    advice = HOW
    if options.competition:
        advice = f"Accept the rules on kaggle.com/competitions/{options.competition}/rules. {HOW}"
    names = options.files or (f"{name}.zip",)
    return [
        Remote(
            path=file,
            origin=f"{place}/{file}",
            request=_request(options, file if options.files else None, f"{place}/{file}", advice),
            advice=advice,
        )
        for file in names
    ]


def _request(options: KaggleSource, file: str | None, origin: str, advice: str) -> Callable[[], Request]:
    """Asks Kaggle for the signed link of a file, anew at each attempt."""

    def request() -> Request:
        with _client(origin) as client:
            try:
                answer = _ask(client, options, file)
            except requests.HTTPError as error:
                if error.response is None:
                    raise
                check_answer(error.response, origin, advice)
                raise InputError(origin, found=str(error), expected="the file", next_step=advice) from error
            with answer:
                url = answer.url
        if not answer.history:
            raise InputError(origin, found="no link to it", expected="one", next_step="Run again later, or ask Kaggle.")
        served = PurePosixPath(urlsplit(url).path).name
        return Request(url, zipped=file is not None and served == f"{PurePosixPath(file).name}.zip")

    return request


def _ask(client: KaggleClient, options: KaggleSource, file: str | None) -> requests.Response:
    """Kaggle's answer, after its redirection to where the file lies; the body is not read."""
    if options.dataset is not None:
        owner, _, name = options.dataset.partition("/")
        wanted = ApiDownloadDatasetRequest()
        wanted.owner_slug, wanted.dataset_slug = owner, name
        if options.version is not None:
            wanted.dataset_version_number = options.version
        if file is not None:
            wanted.file_name = file
        answer = client.datasets.dataset_api_client.download_dataset(wanted)
    elif file is None:
        everything = ApiDownloadDataFilesRequest()
        everything.competition_name = options.competition
        answer = client.competitions.competition_api_client.download_data_files(everything)
    else:
        one = ApiDownloadDataFileRequest()
        one.competition_name, one.file_name = options.competition, file
        answer = client.competitions.competition_api_client.download_data_file(one)
    response: requests.Response = answer
    return response


def _client(origin: str) -> KaggleClient:
    """A client with the credentials of the environment, and of nowhere else."""
    if os.environ.get(TOKEN):
        return KaggleClient(api_token=credential(TOKEN, origin, HOW))
    user, key = (credential(name, origin, HOW) for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"))
    return KaggleClient(username=user, password=key)
