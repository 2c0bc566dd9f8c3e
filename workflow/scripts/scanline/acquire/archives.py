"""Archives of a raw folder, unpacked beside themselves; nothing in them may lead out of the folder they become."""

import errno
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
RATIO = 100  # DICOM and PNG files shrink to a half at best, tables to a tenth
SMALL_BYTES = 1_000_000_000
ENTRIES = 5_000_000
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive that `unpack_archives` takes."""
    return name.lower().endswith(SUFFIXES)


def unpacked_name(name: str) -> str:
    """The name of the folder that an archive becomes: its own without suffix."""
    return next(name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix))


def unpack_archives(folder: Path, largest_gb: float | None = None) -> None:
    """Unpack each archive directly in `folder`, see `unpack_archive`."""
    for archive in sorted(path for path in folder.iterdir() if path.is_file() and is_archive(path.name)):
        unpack_archive(archive, largest_gb)


def unpack_archive(archive: Path, largest_gb: float | None = None) -> None:
    """Unpack an archive into a folder of its name without suffix beside it, unless that is there already.

    It is unpacked aside and renamed, so that what a kill left half done is done again. The archive stays.

    Args:
        archive: The file.
        largest_gb: Most that it may become, in GB; None for RATIO times its own size, and SMALL_BYTES at least.

    Raises:
        InputError: If it is damaged or encrypted, becomes too large, or a member is a link, a device, or leads out of
            the folder; or if the disk is full.
    """
    target = archive.with_name(unpacked_name(archive.name))
    if target.exists():
        return
    aside = archive.with_name(f".{target.name}{PART}")
    shutil.rmtree(aside, ignore_errors=True)
    logger.info("unpacking %s", archive)
    allowance = _Allowance(archive, largest_gb)
    try:
        (_unpack_zip if archive.name.lower().endswith(".zip") else _unpack_tar)(archive, aside, allowance)
        aside.rename(target)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _no_space(archive, str(error.strerror)) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


class _Allowance:
    """What an archive may still become: a small file that holds terabytes would fill the disk."""

    def __init__(self, archive: Path, largest_gb: float | None) -> None:
        self.archive = archive
        by_size = max(SMALL_BYTES, RATIO * archive.stat().st_size)
        self.bytes = by_size if largest_gb is None else int(largest_gb * 1e9)
        self.entries = ENTRIES
        self.limit = self.bytes

    def take(self, size: int) -> None:
        """Count one member.

        Raises:
            InputError: If it is one too many, or too large.
        """
        self.bytes -= size
        self.entries -= 1
        if self.bytes < 0 or self.entries < 0:
            raise InputError(
                self.archive,
                found="an archive that grows out of all proportion",
                expected=f"at most {self.limit / 1e9:.3g} GB in {ENTRIES:,} files",
                next_step="Do not use it, or, where that is right, raise largest_unpacked_gb in the study file.",
            )


def _unpack_tar(archive: Path, target: Path, allowance: _Allowance) -> None:
    with tarfile.open(archive) as file:
        for member in file:
            if not (member.isfile() or member.isdir()) or not _stays_below(member.name):
                raise _unsafe(archive, member.name)
            allowance.take(member.size)
            if member.isdir():
                (target / member.name).mkdir(parents=True, exist_ok=True)
                continue
            (target / member.name).parent.mkdir(parents=True, exist_ok=True)
            content = cast(IO[bytes], file.extractfile(member))  # None for what is no file
            with content, (target / member.name).open("wb") as copy:
                shutil.copyfileobj(content, copy)
    target.mkdir(exist_ok=True)


def _unpack_zip(archive: Path, target: Path, allowance: _Allowance) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            _check_member(archive, member)
            allowance.take(member.file_size)
        needed, free = sum(member.file_size for member in members), shutil.disk_usage(archive.parent).free
        if needed > free:
            raise _no_space(archive, f"{free / 1e9:.3g} GB free where it needs {needed / 1e9:.3g}")
        file.extractall(target)
    target.mkdir(exist_ok=True)


def _check_member(archive: Path, member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if not _stays_below(member.filename) or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _unsafe(archive, member.filename)
    if member.flag_bits & 1:
        raise InputError(
            archive, found="an archive with a password", expected="one without", next_step="Unpack it yourself."
        )


def unpack_single(archive: Path, where: str) -> Path:
    """Unpack a zip archive that holds one file, whatever that is called, to a file beside it.

    Args:
        archive: The archive.
        where: What it is, for messages.

    Returns:
        The file that it held, named like the archive with `.single` behind it.

    Raises:
        InputError: If it is no such archive, or the file in it is too large.
    """
    target = archive.with_name(f"{archive.name}.single")
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            if len(members) != 1 or members[0].is_dir():
                raise zipfile.BadZipFile(f"{len(members)} members where one file was expected")
            _check_member(archive, members[0])
            _Allowance(archive, None).take(members[0].file_size)
            with file.open(members[0]) as content, target.open("wb") as copy:
                shutil.copyfileobj(content, copy)
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError) as error:
        raise _damaged(where, error) from error
    return target


def _stays_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _damaged(archive: object, error: Exception) -> InputError:
    return InputError(
        archive,
        found=f"a damaged archive, or one that leads out of its folder ({error})",
        expected="regular files below one folder",
        next_step="Fetch it again.",
    )


def _no_space(archive: Path, found: str) -> InputError:
    return InputError(
        archive,
        found=found,
        expected="space for what it holds",
        next_step="Free space and run the same command again.",
    )


def _unsafe(archive: Path, name: str) -> InputError:
    return InputError(
        f"{archive}: {name}",
        found="a link, a device or a path that leads elsewhere",
        expected="regular files below one folder",
        next_step="Do not use this archive.",
    )
