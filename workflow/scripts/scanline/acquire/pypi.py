"""Files out of a wheel of the Python Package Index, fetched by pip's own client; nothing is installed or run."""

import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from scanline.acquire.environment import is_offline
from scanline.acquire.fetch import not_there
from scanline.acquire.manifest import make_manifest
from scanline.acquire.options import PypiSource
from scanline.core.errors import InputError
from scanline.core.files import read_json, sha256_of_file, write_json, written_aside
from scanline.core.log import logger

TIMEOUT_SECONDS = 30  # of each connection
LONGEST_SECONDS = 1800  # of the whole download
LARGEST_BYTES = 2_000_000_000  # of one unpacked file


def acquire(options: PypiSource) -> pd.DataFrame:
    """Fetch a wheel and unpack the files named in `options.files`, unless they lie there from that wheel already.

    The hidden file `.pypi.json` beside them records the package, its version and SHA-256, and those of the files: a
    later run that finds all of them unchanged fetches nothing, and one that has to fetch again asks for the same wheel.
    Files put there by hand, without a record, are taken as they are.

    Returns:
        Table FILES: all files of the folder, those that no package holds (`by_hand`) among them.

    Raises:
        InputError: If pip cannot fetch the wheel, its SHA-256 is another, or a named file is not in it or not safe.
    """
    folder = Path(options.path)
    record_path = folder / ".pypi.json"
    targets = {member: folder / PurePosixPath(member).name for member in options.files}
    record = read_json(record_path) if record_path.exists() else None
    if not _is_complete(record, targets, options):
        if is_offline():
            raise not_there(folder, [path.name for path in targets.values() if not path.is_file()], len(targets))
        with tempfile.TemporaryDirectory(prefix="scanline_pypi_") as place:
            wheel = _download(options, Path(place))
            digest = sha256_of_file(wheel)
            _check_digest(wheel.name, digest, options, record)
            _unpack(wheel, targets)
        hashes = {target.name: sha256_of_file(target) for target in targets.values()}
        known = {"package": options.package, "version": options.version, "sha256": digest, "files": hashes}
        write_json(record_path, known)
    for name in options.by_hand:
        if not (folder / name).is_file():
            logger.warning("%s is not there. %s", folder / name, options.how_to_get)
    return make_manifest(folder)


def accept(options: PypiSource, files: pd.DataFrame) -> None:
    """Put into the record that the user changed files of the wheel: no later run undoes it.

    Args:
        options: The source.
        files: Table FILES of what is there now.
    """
    record_path = Path(options.path) / ".pypi.json"
    if not record_path.exists():
        return
    record = read_json(record_path)
    now = dict(zip(files["path"], files["sha256"], strict=True))
    record["files"] = {name: now.get(name, digest) for name, digest in record["files"].items()}
    write_json(record_path, record)


def _is_complete(record: Mapping[str, Any] | None, targets: Mapping[str, Path], options: PypiSource) -> bool:
    """Whether every file lies there as the record says, or, without a record, lies there at all."""
    if not all(target.is_file() for target in targets.values()):
        return False
    if record is None:
        logger.info("the files are in %s already: nothing is fetched", options.path)
        return True
    if (record["package"], record["version"]) != (options.package, options.version):
        return False
    if options.sha256 not in (None, record["sha256"]):
        return False
    return all(record["files"].get(target.name) == sha256_of_file(target) for target in targets.values())


def _download(options: PypiSource, place: Path) -> Path:
    wanted = f"{options.package}=={options.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(place)]
    command += ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command += ["--retries", "1", "--timeout", str(TIMEOUT_SECONDS), wanted]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
        said, failed = answer.stderr, answer.returncode != 0
    except subprocess.TimeoutExpired:
        said, failed = f"ERROR: not done after {LONGEST_SECONDS} s", True
    wheels = sorted(place.glob("*.whl"))
    if failed or len(wheels) != 1:
        raise InputError(
            options.path,
            found=f"no files, and pip cannot fetch {wanted} ({_reason(said)})",
            expected="one wheel of that package",
            next_step=f"Connect to the package index and run again, or put these files there yourself: "
            f"{', '.join(PurePosixPath(member).name for member in options.files)}.",
        )
    return wheels[0]


def _reason(said: str) -> str:
    """What pip complains of, without its advice; a lost connection is named, as pip's last line does not."""
    lines = [line.strip() for line in said.splitlines()]
    if any("Retrying (" in line or "connection" in line.lower() for line in lines):
        return "the package index cannot be reached"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no reason given"])[-1][:300]


def _check_digest(name: str, digest: str, options: PypiSource, record: Mapping[str, Any] | None) -> None:
    """Check the wheel against the SHA-256 of the study file, or else of the record of an earlier download."""
    promised, source = options.sha256, "acquire.sha256 of the study file"
    is_same = record is not None and (record["package"], record["version"]) == (options.package, options.version)
    if promised is None and record is not None and is_same:
        promised, source = record["sha256"], f"{options.path}/.pypi.json, written at the first download"
    if promised is not None and digest != promised:
        raise InputError(
            name,
            found=f"SHA-256 {digest}",
            expected=f"{promised} ({source})",
            next_step="The package was changed or damaged: nothing was unpacked. Ask its authors, or correct the hash.",
        )


def _unpack(wheel: Path, targets: Mapping[str, Path]) -> None:
    """Unpack the named members, each written aside and renamed, after all were found safe."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = {member: _member(archive, wheel, member) for member in targets}
            for member, info in members.items():
                with archive.open(info) as stream, written_aside(targets[member]) as aside, aside.open("wb") as file:
                    shutil.copyfileobj(stream, file)
    except zipfile.BadZipFile as error:
        raise InputError(
            wheel.name, found=f"a damaged archive ({error})", expected="a wheel", next_step="Run again."
        ) from error


def _member(archive: zipfile.ZipFile, wheel: Path, name: str) -> zipfile.ZipInfo:
    """The one regular file of this name in an archive."""
    found = [info for info in archive.infolist() if info.filename == name]
    if not found:
        same_end = [info.filename for info in archive.infolist() if info.filename.endswith(Path(name).suffix)]
        raise InputError(
            wheel.name,
            found=f"no file {name}; among its files: {', '.join(same_end[:5]) or 'none of that kind'}",
            expected="a file of that name",
            next_step="Correct acquire.files in the study file.",
        )
    info = found[-1]
    kind = stat.S_IFMT(info.external_attr >> 16)
    is_regular = kind in (0, stat.S_IFREG) and not info.is_dir()
    if len(found) > 1 or not is_regular or info.file_size > LARGEST_BYTES:
        raise InputError(
            f"{wheel.name}: {name}",
            found="several files of that name" if len(found) > 1 else "a link, a folder or an enormous file",
            expected=f"one regular file of at most {LARGEST_BYTES / 1e9:g} GB",
            next_step="Do not use this package.",
        )
    return info
