"""A version of a Roboflow project.

Roboflow's client is left out: it downloads without resuming and unpacks without checks, waits for ever where a server
hangs, and its wheel brings a top-level package `tests` and a dozen others. What it asks for the link of an export is
documented (https://docs.roboflow.com/developer/rest-api) and asked here in the same words.
"""

import time
from collections.abc import Callable, Sequence
from urllib.parse import quote

import requests

from scanline.acquire.answers import TryAgainError, check_answer
from scanline.acquire.download import TIMEOUT_SECONDS, Remote, Request
from scanline.acquire.environment import check_encrypted, credential
from scanline.acquire.fetched_options import RoboflowSource
from scanline.core.errors import InputError
from scanline.core.log import logger

KEY = "ROBOFLOW_API_KEY"
HOW = f"Set {KEY} to the key in your workspace's settings on app.roboflow.com."
POLL_SECONDS = 5.0
LONGEST_SECONDS = 1800.0  # that Roboflow may take to make an export


def remotes_of(options: RoboflowSource) -> Sequence[Remote]:
    """The one archive of the export."""
    name = f"{options.project}-v{options.version}-{options.export_format}.zip"
    origin = f"roboflow:{options.workspace}/{options.project}/{options.version}/{options.export_format}"
    return [Remote(path=name, origin=origin, request=_request(options, origin), advice=HOW, is_page=False)]


def _request(options: RoboflowSource, origin: str) -> Callable[[], Request]:
    """Asks Roboflow for the signed link of the export, and waits while it is being made."""

    def request() -> Request:
        deadline = time.monotonic() + LONGEST_SECONDS
        while True:
            export = _ask(options, origin).get("export")
            link = export.get("link") if isinstance(export, dict) else None
            if link:
                return Request(str(link))
            if time.monotonic() > deadline:
                raise TryAgainError(f"the export is not ready after {LONGEST_SECONDS / 60:.0f} minutes")
            logger.info("%s: Roboflow makes the export", origin)
            time.sleep(POLL_SECONDS)

    return request


def _ask(options: RoboflowSource, origin: str) -> dict[str, object]:
    check_encrypted(options.api_url)
    parts = (options.workspace, options.project, str(options.version), options.export_format)
    url = "/".join([options.api_url.rstrip("/"), *(quote(part, safe="") for part in parts)])
    key = credential(KEY, origin, HOW)
    with requests.get(url, params={"api_key": key, "nocache": "true"}, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status_code != 202:
            check_answer(answer, origin, HOW)
        try:
            values = answer.json()
        except requests.JSONDecodeError as error:
            raise InputError(origin, found="an answer that is no JSON", expected="a link", next_step=HOW) from error
    return values if isinstance(values, dict) else {}
