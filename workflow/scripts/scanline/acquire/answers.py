"""What a server's answer means for a download: go on, try again later, or give up in one line."""

import email.utils
import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import requests
import urllib3

from scanline.acquire.environment import without_secrets
from scanline.core.errors import InputError

TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT_SECONDS = 300.0
REASON_BYTES = 4096
LOST = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)
CHANGED = "It was changed since: delete the list in the folder .scanline beside the data, and run again."
EXPECTED = {
    400: "a request that the server takes",
    401: "credentials that the server takes",
    403: "permission to read it",
    404: "a file at that address",
    410: "a file at that address",
    412: "the file as it was when it was listed",
}


class TryAgainError(Exception):
    """A failure that may be over soon.

    Args:
        reason: What happened, without secrets.
        after: Seconds that the server asks to wait; None where it does not say.
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


def check_answer(answer: requests.Response, where: str, advice: str) -> None:
    """Check the status of an answer.

    Args:
        answer: The server's, its body not read yet.
        where: The file in the study's terms, for messages: the address may hold secrets.
        advice: What to do where the server refuses.

    Raises:
        TryAgainError: For a status that may change by itself.
        InputError: For any other that is no success.
    """
    status = answer.status_code
    if status in (200, 206):
        return
    said = f"HTTP {status} {reason_of(answer)}".rstrip()
    if status in TEMPORARY:
        raise TryAgainError(said, retry_after(answer.headers))
    next_step = CHANGED if status == 412 else advice
    raise InputError(where, found=said, expected=EXPECTED.get(status, "the file"), next_step=next_step)


def reason_of(answer: requests.Response) -> str:
    """The server's reason in a few words: its error code in XML or JSON, or else the phrase of its status."""
    text = next(answer.iter_content(REASON_BYTES), b"").decode("utf-8", "replace")
    code = re.search(r"<Code>([\w.]{1,80})</Code>", text)
    if code:
        return f"({code[1]})"
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        values = None
    told = [values.get(key) for key in ("message", "error")] if isinstance(values, dict) else []
    message = next((" ".join(one.split())[:200] for one in told if isinstance(one, str)), "")
    return f"({without_secrets(message)})" if message else str(answer.reason or "")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header Retry-After asks to wait, at most LONGEST_WAIT_SECONDS; None without it."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return min(float(text), LONGEST_WAIT_SECONDS)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    wait = (moment - datetime.fromtimestamp(time.time(), UTC)).total_seconds()
    return min(max(wait, 0.0), LONGEST_WAIT_SECONDS)


def lost_connection(error: Exception) -> TryAgainError:
    """A connection's failure in words without the address's secrets.

    Raises:
        InputError: If the server's certificate is not to be trusted: that does not pass by itself.
    """
    host = urlsplit(getattr(getattr(error, "request", None), "url", "") or "").hostname or "the server"
    if isinstance(error, requests.exceptions.SSLError):
        raise InputError(
            host,
            found="a certificate that does not prove who it is",
            expected="a trusted one",
            next_step="Check the address, this machine's clock, and SSL_CERT_FILE or REQUESTS_CA_BUNDLE.",
        ) from error
    if isinstance(error, requests.Timeout):
        return TryAgainError(f"{host} does not answer in time")
    return TryAgainError(f"the connection to {host} was refused or cut")
