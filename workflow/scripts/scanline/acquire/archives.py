"""Archives of a raw folder, unpacked beside themselves; nothing in them may lead out of the folder they become."""

import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, cast

from scanline.core.errors import InputError
from scanline.core.log import logger

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")
PART = ".part"  # behind a dot, so that no manifest lists a half-unpacked folder


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive that `unpack_archives` takes."""
    return name.lower().endswith(SUFFIXES)


def unpack_archives(folder: Path) -> None:
    """Unpack each archive in `folder` into a folder of its name without suffix, unless that is there already.

    It is unpacked aside and renamed, so that what a kill left half done is done again. The archive stays.

    Raises:
        InputError: If an archive is damaged, or a member is a link, a device, or leads out of the folder.
    """
    for archive in sorted(path for path in folder.iterdir() if path.is_file() and is_archive(path.name)):
        target = folder / _stem(archive.name)
        if target.exists():
            continue
        aside = folder / f".{target.name}{PART}"
        shutil.rmtree(aside, ignore_errors=True)
        logger.info("unpacking %s", archive)
        try:
            (_unpack_zip if archive.name.lower().endswith(".zip") else _unpack_tar)(archive, aside)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise InputError(
                archive,
                found=f"a damaged archive, or one that leads out of its folder ({error})",
                expected="regular files below one folder",
                next_step="Fetch it again.",
            ) from error
        aside.rename(target)


def _stem(name: str) -> str:
    return next(name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix))


def _unpack_tar(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as file:
        for member in file:
            if not (member.isfile() or member.isdir()) or not _stays_below(member.name):
                raise _unsafe(archive, member.name)
            if member.isdir():
                (target / member.name).mkdir(parents=True, exist_ok=True)
                continue
            (target / member.name).parent.mkdir(parents=True, exist_ok=True)
            content = cast(IO[bytes], file.extractfile(member))  # None for what is no file
            with content, (target / member.name).open("wb") as copy:
                shutil.copyfileobj(content, copy)
    target.mkdir(exist_ok=True)


def _unpack_zip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if not _stays_below(member.filename) or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(archive, member.filename)
        file.extractall(target)
    target.mkdir(exist_ok=True)


def _stays_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _unsafe(archive: Path, name: str) -> InputError:
    return InputError(
        f"{archive}: {name}",
        found="a link, a device or a path that leads elsewhere",
        expected="regular files below one folder",
        next_step="Do not use this archive.",
    )
