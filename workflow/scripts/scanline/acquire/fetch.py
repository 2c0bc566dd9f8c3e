"""A source's files brought into place: what is missing is fetched, what is there is compared with its record."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from scanline.acquire.archives import is_archive, unpack_archive, unpacked_name
from scanline.acquire.download import Remote, Transfer, download
from scanline.acquire.environment import OFFLINE, is_offline
from scanline.acquire.fetched_options import FetchedSource, check_file_path
from scanline.acquire.manifest import make_manifest
from scanline.acquire.record import Record, changed_file, locked
from scanline.core.errors import InputError
from scanline.core.files import sha256_of_file, written_aside
from scanline.core.log import logger, progress_of_bytes

UNPACKED_FROM = ".unpacked-from"  # in an unpacked folder: the SHA-256 of its archive
SHOWN = 5  # names in a message


def fetch(options: FetchedSource, remotes: Sequence[Remote]) -> pd.DataFrame:
    """Fetch what is missing of a source, unpack it where that is asked for, and list it.

    A file that is there already is kept: compared with the record if it was fetched, taken as it is if the user put
    it there. Files of the record that the source no longer names (a smaller sample) stay, and are not listed.

    Args:
        options: The source.
        remotes: All its files.

    Returns:
        Table FILES.

    Raises:
        InputError: If a file cannot be had, or is not what it was or should be; offline, if any is missing.
    """
    folder = Path(options.path)
    with locked(folder):
        record = Record(folder)
        wanted = [remote for remote in check_remotes(options, remotes) if not record.is_taken_out(remote.path)]
        missing = [remote for remote in wanted if _is_missing(folder, remote, record, options.unpack)]
        if missing and is_offline():
            raise not_there(folder, [remote.path for remote in missing], len(wanted))
        try:
            known = fetch_all(missing, folder, options.connections, options.retries, record)
            if options.unpack:
                known |= _unpack_all(folder, wanted, record, known, options.largest_unpacked_gb)
            files = list_files(options, wanted)
            known |= dict(zip(files["path"], files["sha256"], strict=True))
            for remote in wanted:
                if remote.path in known:
                    _compare(folder, remote, known[remote.path], record)
        finally:
            record.write()
    return files


def check_remotes(options: FetchedSource, remotes: Sequence[Remote]) -> list[Remote]:
    """Check the files' names, and give each the SHA-256 that the study file has for it.

    Raises:
        InputError: If a name is unsafe or used twice, or `sha256` names a file that there is not.
    """
    paths = {remote.path for remote in remotes}
    for path in paths:
        try:
            check_file_path(path)
        except ValueError as error:
            raise InputError(
                options.path, found=f"a file named {path!r}", expected=str(error), next_step="Choose other files."
            ) from error
    folders = {parent.as_posix() for path in paths for parent in PurePosixPath(path).parents}
    twice = sorted([path for path, count in Counter(remote.path for remote in remotes).items() if count > 1])
    twice += sorted(paths & folders)
    if twice:
        raise InputError(
            options.path,
            found=f"two files, or a file and a folder, named {twice[0]!r}",
            expected="one of each name",
            next_step="Name them otherwise, or choose one of them.",
        )
    unknown = sorted(options.sha256.keys() - paths)
    if unknown:
        raise InputError(
            "acquire.sha256",
            found=repr(unknown[0]),
            expected=f"one of the source's files: {named(sorted(paths))}",
            next_step="Correct the name in the study file.",
        )
    return [_with_digest(remote, options.sha256.get(remote.path)) for remote in remotes]


def _with_digest(remote: Remote, sha256: str | None) -> Remote:
    return remote if sha256 is None else replace(remote, sha256=sha256)


def _is_missing(folder: Path, remote: Remote, record: Record, unpack: bool) -> bool:
    """Whether a file has to be fetched: it is not there, or it is one that we fetched of something else.

    Raises:
        InputError: If it would have to be fetched, and the user has changed the one that is there.
    """
    path, entry = folder / remote.path, record.files.get(remote.path)
    is_same = entry is not None and entry["origin"] == remote.origin and remote.sha256 in (None, entry["sha256"])
    if not path.exists():
        return not (unpack and is_same and entry is not None and _unpacked_from(path) == entry["sha256"])
    if entry is None or is_same:
        return False
    found = sha256_of_file(path)
    if found == remote.sha256:
        return False
    if found != entry["sha256"] or entry.get("edited"):
        raise changed_file(path, found, f"the file of {remote.origin}")
    return True


def _unpacked_from(archive: Path) -> str | None:
    """The SHA-256 of the archive that the folder of its name was unpacked from; None where there is no such folder."""
    if not is_archive(archive.name):
        return None
    mark = archive.with_name(unpacked_name(archive.name)) / UNPACKED_FROM
    return mark.read_text("utf-8").strip() if mark.is_file() else None


def not_there(folder: Path, missing: Sequence[str], total: int) -> InputError:
    """The line that says what is missing where the network may not be used."""
    return InputError(
        folder,
        found=f"{total - len(missing)} of {total} files; missing: {named(missing)}",
        expected=f"all of them, as {OFFLINE} is set",
        next_step=f"Put them there, or: unset {OFFLINE}",
    )


def named(names: Sequence[str]) -> str:
    """The first names of many, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def fetch_all(
    remotes: Sequence[Remote], folder: Path, connections: int, retries: int, record: Record
) -> dict[str, str]:
    """Fetch files, several at a time; the first failure ends all, and what came so far is kept.

    Returns:
        Path to SHA-256.

    Raises:
        InputError: The first failure.
    """
    if not remotes:
        return {}
    logger.info("fetching %d files into %s: %s", len(remotes), folder, named([remote.path for remote in remotes]))
    digests: dict[str, str] = {}
    sizes = [remote.bytes for remote in remotes]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    with _transfer(folder, retries, total) as transfer, ThreadPoolExecutor(connections) as pool:
        futures = {pool.submit(download, remote, transfer): remote for remote in remotes}
        try:
            for future in as_completed(futures):
                remote = futures[future]
                digests[remote.path] = future.result()
                size = (folder / remote.path).stat().st_size
                record.keep(remote.path, remote.origin, size, digests[remote.path])
        finally:
            transfer.stop.set()
            pool.shutdown(cancel_futures=True)
    return digests


@contextmanager
def _transfer(folder: Path, retries: int, total: int | None) -> Iterator[Transfer]:
    """What the downloads share, with a progress bar of their bytes."""
    lock = threading.Lock()
    with progress_of_bytes(total) as bar:

        def tell(count: int) -> None:
            with lock:
                bar.update(count)

        yield Transfer(folder, retries, tell)


def _unpack_all(
    folder: Path, remotes: Sequence[Remote], record: Record, known: dict[str, str], largest_gb: float | None
) -> dict[str, str]:
    """Unpack the archives among a source's files, each compared with the record before.

    Returns:
        Path to SHA-256 of those archives.

    Raises:
        InputError: If one is not what it was, or a folder in its place comes from another one.
    """
    digests: dict[str, str] = {}
    for remote in remotes:
        archive = folder / remote.path
        if not is_archive(remote.path) or not archive.exists():
            continue
        digest = known.get(remote.path) or sha256_of_file(archive)
        _compare(folder, remote, digest, record)
        target = archive.with_name(unpacked_name(archive.name))
        if not target.exists():
            unpack_archive(archive, largest_gb)
            with written_aside(target / UNPACKED_FROM) as aside:
                aside.write_text(f"{digest}\n", "utf-8")
        elif _unpacked_from(archive) not in (None, digest):
            raise InputError(
                target,
                found="the content of another archive than the one beside it",
                expected=f"that of {archive.name}",
                next_step="Move the folder away, or remove it, and run again.",
            )
        digests[remote.path] = digest
    return digests


def _compare(folder: Path, remote: Remote, sha256: str, record: Record) -> None:
    """Compare a file with its record, or, at first sight, with what is known of it, and record it.

    Raises:
        InputError: If it differs.
    """
    path, entry = folder / remote.path, record.files.get(remote.path)
    if entry is not None and entry["sha256"] == sha256 and entry["origin"] == remote.origin:
        return
    if remote.sha256 not in (None, sha256):
        raise changed_file(path, sha256, f"{remote.sha256}, as the study file says")
    if entry is not None and entry["sha256"] != sha256:
        raise changed_file(path, sha256, f"{entry['sha256']}, as at first sight")
    record.keep(remote.path, remote.origin, path.stat().st_size, sha256)


def list_files(options: FetchedSource, remotes: Sequence[Remote]) -> pd.DataFrame:
    """List a source's folder as it is.

    Left out are archives that were unpacked, and what was fetched once and is no longer among the source's files.

    Args:
        options: The source.
        remotes: Its files.

    Returns:
        Table FILES.
    """
    folder = Path(options.path)
    paths = {remote.path for remote in remotes}
    stale = Record(folder).files.keys() - paths
    archives = {path for path in paths if options.unpack and is_archive(path)}
    stale_folders = tuple(
        f"{PurePosixPath(path).with_name(unpacked_name(PurePosixPath(path).name))}/"
        for path in stale
        if is_archive(path)
    )
    return make_manifest(
        folder, without=lambda path: path in stale or path in archives or path.startswith(stale_folders)
    )


def accept(options: FetchedSource, files: pd.DataFrame) -> None:
    """Put into the record that the user changed files, or took them out: no later run undoes it.

    Args:
        options: The source.
        files: Table FILES of what is there now.
    """
    folder = Path(options.path)
    now = files.set_index("path")
    with locked(folder):
        record = Record(folder)
        for path, entry in record.files.items():
            if not (folder / path).exists():
                entry["taken_out"] = not (is_archive(path) and _unpacked_from(folder / path))
                continue
            entry.pop("taken_out", None)
            found = str(now.at[path, "sha256"]) if path in now.index else sha256_of_file(folder / path)
            if found != entry["sha256"]:
                entry |= {"sha256": found, "bytes": (folder / path).stat().st_size, "edited": True}
        record.write()
