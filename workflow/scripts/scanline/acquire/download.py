"""One file over HTTP: resumed after a cut, retried with back-off, checked, and renamed when it is whole."""

import json
import os
import random
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

from scanline.acquire.answers import LOST, TryAgainError, check_answer, lost_connection
from scanline.acquire.archives import FULL, unpack_single
from scanline.acquire.ranges import range_headers, span_of, validator_of
from scanline.core.errors import InputError
from scanline.core.files import sha256_of_file, sha256_of_text
from scanline.core.log import logger

KEPT = ".scanline"  # folder beside the data: hidden, so that no manifest lists it
CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = (15.0, 60.0)  # to connect, and between two pieces of the body
FIRST_WAIT_SECONDS = 1.0  # doubled after each failure
PROGRESS_BYTES = 1 << 20  # an attempt that brought so much does not count as a failure


class StoppedError(Exception):
    """This download was given up because another one failed."""


@dataclass(frozen=True)
class Request:
    """An HTTP request.

    Attributes:
        url: The address, which may hold secrets: it is never logged.
        headers: May hold secrets too.
        zipped: The server sends the file in a zip archive of its own.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    zipped: bool = False


@dataclass(frozen=True)
class Remote:
    """One file to fetch.

    Attributes:
        path: Where it lands, below the source's folder, with POSIX separators.
        origin: What it is where it comes from, for messages and the record; no secrets.
        request: Makes the request; it is asked anew before each attempt, as signed links expire.
        advice: What to do where the server refuses.
        bytes: Its size, where it is known beforehand.
        sha256: Its SHA-256, or how that begins, where it is known.
        check: Looks at the whole file before it is renamed, and raises InputError.
        is_page: Whether it may be a web page; false where one would be a login or an excuse in its place.
    """

    path: str
    origin: str
    request: Callable[[], Request]
    advice: str = "Correct the source in the study file."
    bytes: int | None = None
    sha256: str | None = None
    check: Callable[[Path], None] | None = None
    is_page: bool = True


@dataclass(frozen=True)
class Transfer:
    """What the downloads of one source share.

    Attributes:
        folder: The source's folder; unfinished files lie in a hidden one below it.
        retries: Attempts after a failed one, for each file.
        told: Called with the number of bytes of each piece, negative where bytes are dropped.
        stop: Set where all are to end.
    """

    folder: Path
    retries: int
    told: Callable[[int], None] = lambda count: None
    stop: threading.Event = field(default_factory=threading.Event)
    sessions: threading.local = field(default_factory=threading.local)

    def session(self) -> requests.Session:
        """The session of this thread; it keeps connections open, and reads no credentials from files."""
        if not hasattr(self.sessions, "session"):
            self.sessions.session = requests.Session()
            self.sessions.session.auth = _as_it_is
        session: requests.Session = self.sessions.session
        return session


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No authentication but that of the headers; without it, requests would look into ~/.netrc."""
    return request


class _Part:
    """An unfinished file, and beside it what is known of the whole one."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        name = sha256_of_text(remote.path)[:24]
        self.path = folder / KEPT / "parts" / f"{name}.part"
        self.facts_path = self.path.with_suffix(".json")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        facts = json.loads(self.facts_path.read_text("utf-8")) if self._has_facts() else {}
        self.validator: str | None = facts.get("validator")
        self.total: int | None = facts.get("total")
        if not facts or facts["origin"] != remote.origin or self.validator is None:
            self.drop()
        self.was_resumed = self.size > 0

    def _has_facts(self) -> bool:
        return self.path.exists() and self.facts_path.exists() and self.facts_path.stat().st_size > 0

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def is_whole(self) -> bool:
        return self.size > 0 and self.size == self.total

    def describe(self, remote: Remote, validator: str | None, total: int | None) -> None:
        """Keep what is known of the whole file, for a later attempt or run."""
        facts = {"origin": remote.origin, "validator": validator, "total": total}
        aside = self.facts_path.with_suffix(".new")
        aside.write_text(json.dumps(facts), "utf-8")
        aside.replace(self.facts_path)
        self.validator, self.total = validator, total

    def drop(self) -> int:
        """Begin anew; gives the number of bytes dropped."""
        size = self.size
        self.path.unlink(missing_ok=True)
        self.facts_path.unlink(missing_ok=True)
        self.validator = self.total = None
        self.was_resumed = False
        return size


def download(remote: Remote, transfer: Transfer) -> str:
    """Fetch a file to its place below `transfer.folder`; nothing half-written ever stands there.

    What a cut, a kill or a full disk left is kept aside, and the next attempt or run goes on from there if the
    server still has the same file.

    Returns:
        Its SHA-256.

    Raises:
        InputError: If it cannot be had, has another size or SHA-256, or the disk is full.
        StoppedError: If `transfer.stop` was set.
    """
    target = transfer.folder / remote.path
    try:
        part = _Part(remote, transfer.folder)
        transfer.told(part.size)
        digest = _until_whole(remote, part, transfer)
        target.parent.mkdir(parents=True, exist_ok=True)
        part.path.replace(target)
        part.drop()
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _no_space(target, f"{error.strerror or 'no space left'} while writing") from error
    return digest


def _until_whole(remote: Remote, part: _Part, transfer: Transfer) -> str:
    """Attempt after attempt, until the part is the whole file and passes its checks."""
    failures = 0
    while True:
        before = part.size
        try:
            request = _attempt(remote, part, transfer)
            return _checked(remote, request, part, transfer)
        except TryAgainError as error:
            failures = 1 if part.size - before >= PROGRESS_BYTES else failures + 1
            if failures > transfer.retries:
                raise InputError(
                    remote.origin,
                    found=f"{error}, {failures} times" if failures > 1 else str(error),
                    expected="the whole file",
                    next_step="Run the same command again later: it goes on from what is there.",
                ) from error
            _wait(remote, error, failures, transfer)


def _wait(remote: Remote, error: TryAgainError, failures: int, transfer: Transfer) -> None:
    spread = random.uniform(0.75, 1.25)  # so that parallel downloads do not come back all at once
    seconds = error.after if error.after is not None else min(60.0, FIRST_WAIT_SECONDS * 2 ** (failures - 1)) * spread
    logger.warning("%s: %s; next attempt in %.1f s", remote.origin, error, seconds)
    if transfer.stop.wait(seconds):
        raise StoppedError


def _attempt(remote: Remote, part: _Part, transfer: Transfer) -> Request:
    """Ask for what is missing and append it."""
    if transfer.stop.is_set():
        raise StoppedError
    try:
        request = remote.request()
        if not part.is_whole:
            _receive(remote, request, part, transfer)
    except LOST as error:
        raise lost_connection(error) from error
    except requests.RequestException as error:
        raise InputError(
            remote.origin,
            found=f"a request that cannot be made ({type(error).__name__})",
            expected="an address that answers",
            next_step=remote.advice,
        ) from error
    return request


def _receive(remote: Remote, request: Request, part: _Part, transfer: Transfer) -> None:
    offset = part.size
    wanted = range_headers(offset, part.validator)
    headers = {**request.headers, "Accept-Encoding": "identity", **wanted}
    with transfer.session().get(request.url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status_code == 416:
            transfer.told(-part.drop())
            raise TryAgainError("the file is shorter than what is there of it")
        check_answer(answer, remote.origin, remote.advice)
        mode = _place(remote, part, answer, offset if wanted else 0, transfer)
        with part.path.open(mode) as file:
            for chunk in answer.raw.stream(CHUNK_BYTES, decode_content=False):
                file.write(chunk)
                transfer.told(len(chunk))
                if transfer.stop.is_set():
                    raise StoppedError
    _check_length(remote, part, transfer)


def _place(remote: Remote, part: _Part, answer: requests.Response, offset: int, transfer: Transfer) -> str:
    """Make the part ready for an answer's body; gives the mode to open it with."""
    span = span_of(answer.status_code, answer.headers, offset)
    validator = validator_of(answer.headers)
    if span is None or (span.start and validator not in (None, part.validator)):
        transfer.told(-part.drop())
        raise TryAgainError("an answer that does not join on to what is there")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise InputError(
            remote.origin,
            found=f"content in {answer.headers['Content-Encoding']!r} coding",
            expected="the file as it is",
            next_step="Ask its publisher for another address.",
        )
    if not remote.is_page and answer.headers.get("Content-Type", "").startswith("text/html"):
        raise InputError(remote.origin, found="a web page", expected="the file", next_step=remote.advice)
    if remote.bytes is not None and span.total not in (None, remote.bytes):
        transfer.told(-part.drop())
        raise _wrong_size(remote, span.total)
    _check_space(remote, part, span.total, span.start)
    if span.start:
        part.was_resumed = True
        transfer.told(span.start - part.size)
        os.truncate(part.path, span.start)
        return "ab"
    transfer.told(-part.size)
    part.was_resumed = False
    part.describe(remote, validator, span.total)
    return "wb"


def _check_space(remote: Remote, part: _Part, total: int | None, start: int) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if total is not None and total - start > free + (part.size - start):
        raise _no_space(part.path.parent, f"{free / 1e9:.3g} GB free for {remote.origin}", total - start)


def _no_space(where: Path, found: str, needed: int | None = None) -> InputError:
    return InputError(
        where,
        found=found,
        expected="space for the whole file" if needed is None else f"{needed / 1e9:.3g} GB",
        next_step="Free space and run the same command again: it goes on from what is there.",
    )


def _wrong_size(remote: Remote, found: int | None) -> InputError:
    return InputError(
        remote.origin,
        found=f"{found} bytes",
        expected=f"{remote.bytes} bytes",
        next_step="The file was changed or damaged: nothing was kept. Ask its publisher, or correct the study file.",
    )


def _check_length(remote: Remote, part: _Part, transfer: Transfer) -> None:
    size = part.size
    if part.total is not None and size < part.total:
        raise TryAgainError(f"cut after {size} of {part.total} bytes")
    if part.total is not None and size > part.total:
        transfer.told(-part.drop())
        raise TryAgainError(f"{size} bytes where {part.total} were announced")
    if remote.bytes not in (None, size):
        transfer.told(-part.drop())
        raise _wrong_size(remote, size)


def _checked(remote: Remote, request: Request, part: _Part, transfer: Transfer) -> str:
    """The SHA-256 of a whole part, after all checks; what fails them is dropped.

    Raises:
        TryAgainError: If it was put together of several answers: then it is fetched once more, from its beginning.
        InputError: If it came in one piece.
    """
    if request.zipped:
        content = unpack_single(part.path, remote.origin)
        part.facts_path.unlink()  # it describes the archive: a kill now drops the part
        content.replace(part.path)
    digest = sha256_of_file(part.path)
    try:
        if remote.sha256 is not None and not digest.startswith(remote.sha256):
            raise InputError(
                remote.origin,
                found=f"SHA-256 {digest}",
                expected=f"{remote.sha256}{'' if len(remote.sha256) == 64 else '...'}",
                next_step="The file was changed or damaged: nothing was kept. Ask its publisher, or correct the hash.",
            )
        if remote.check is not None:
            remote.check(part.path)
    except InputError as error:
        was_resumed = part.was_resumed
        transfer.told(-part.drop())
        if was_resumed:
            raise TryAgainError("what was put together of several pieces is damaged") from error
        raise
    return digest
