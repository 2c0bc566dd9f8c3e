"""Shared files of Google Drive: gdown finds their links, the common download fetches them."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import gdown
import requests
from gdown.download import get_url_from_gdrive_confirmation
from gdown.exceptions import DownloadError, FileURLRetrievalError

from scanline.acquire.answers import check_answer
from scanline.acquire.download import KEPT, TIMEOUT_SECONDS, Remote, Request
from scanline.acquire.environment import is_offline, listing_needs_network
from scanline.acquire.fetched_options import DriveFile, GdriveSource
from scanline.acquire.record import locked
from scanline.core.errors import InputError
from scanline.core.files import read_json, write_json

ADDRESS = "https://drive.google.com/uc"
ADVICE = "Share it with anyone who has the link; after too many downloads Google refuses for a day."


def remotes_of(options: GdriveSource) -> Sequence[Remote]:
    """The files that the source names, or those of its folder, whose list is recorded at first sight.

    Raises:
        InputError: If neither is named, or the folder cannot be listed.
    """
    if not (options.files or options.folder):
        raise InputError(
            f"{options.path}: acquire.folder",
            found="null",
            expected="the long word in the link of a shared folder of Google Drive",
            next_step=options.how_to_get,
        )
    files = options.files or _listing(options, str(options.folder))
    return [
        Remote(
            path=file.name,
            origin=f"gdrive:{file.id}",
            request=_request(file),
            advice=ADVICE,
            is_page=file.name.lower().endswith((".html", ".htm")),
        )
        for file in files
    ]


def _listing(options: GdriveSource, folder_id: str) -> list[DriveFile]:
    folder = Path(options.path)
    path = folder / KEPT / f"drive-{folder_id}.json"
    where = f"gdrive:{folder_id}"
    with locked(folder):
        if not path.exists():
            if is_offline():
                raise listing_needs_network(where)
            write_json(path, _list_folder(folder_id, where))
    return [DriveFile(id=file_id, name=name) for name, file_id in read_json(path).items()]


def _list_folder(folder_id: str, where: str) -> dict[str, str]:
    """Path below the folder to id, of all files in it; two files of one path are an error, as one would be lost."""
    try:
        found = gdown.download_folder(
            id=folder_id, skip_download=True, quiet=True, use_cookies=False, timeout=TIMEOUT_SECONDS
        )
    except (DownloadError, FileURLRetrievalError, requests.RequestException) as error:
        raise InputError(
            where, found=f"no list of its files ({type(error).__name__})", expected="a shared folder", next_step=ADVICE
        ) from error
    files = [file for file in found if not isinstance(file, str)]
    twice = [path for path, count in Counter(file.path for file in files).items() if count > 1]
    if twice:  # Drive allows it, a folder on disk does not
        raise InputError(
            where,
            found=f"{len(twice)} names that several files of the folder share, first {twice[0]!r}",
            expected="a name of its own for each file",
            next_step="Rename them in Drive, or name the files by their ids under acquire.files.",
        )
    return {file.path: file.id for file in files}


def _request(file: DriveFile) -> Callable[[], Request]:
    """Asks Drive for the file, and follows the page that asks back whether one really wants a large one."""

    def request() -> Request:
        origin = f"gdrive:{file.id}"
        with requests.get(ADDRESS, params={"id": file.id}, stream=True, timeout=TIMEOUT_SECONDS) as answer:
            check_answer(answer, origin, ADVICE)
            if "Content-Disposition" in answer.headers:
                return Request(answer.url)
            page = answer.text
        try:
            return Request(get_url_from_gdrive_confirmation(page))
        except FileURLRetrievalError as error:
            raise InputError(
                origin, found=" ".join(str(error).split())[:200], expected="a shared file", next_step=ADVICE
            ) from error

    return request
