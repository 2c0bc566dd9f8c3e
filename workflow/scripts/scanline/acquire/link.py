"""Raw data that a user has elsewhere, linked to where a source looks for it."""

from pathlib import Path

from scanline.acquire.options import LocalSource
from scanline.core.errors import InputError
from scanline.core.log import logger


def link_folder(data: str, source: LocalSource) -> None:
    """Make `source.path` a link to the folder `data`; neither is changed if something stands there already.

    Args:
        data: The user's folder; empty where `source.path` is expected to be there already.
        source: The source that the data is for.

    Raises:
        InputError: If there is no data, or `source.path` is something else already.
    """
    target = Path(source.path)
    if not data:
        if not target.exists():
            raise InputError(
                "DATA",
                found="nothing",
                expected=f"a folder, or data in {target}",
                next_step=source.how_to_get,
            )
        return
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"DATA={data}",
            found="no such folder",
            expected="a folder of raw data",
            next_step=source.how_to_get,
        )
    if next(folder.iterdir(), None) is None:
        raise InputError(
            f"DATA={data}",
            found="an empty folder",
            expected="a folder of raw data",
            next_step=source.how_to_get,
        )
    if target.is_symlink() or target.exists():
        if target.resolve() != folder.resolve():
            raise InputError(
                target,
                found=f"{target.resolve()}",
                expected=f"nothing, or a link to {folder}",
                next_step=f"Move {target} away if DATA is to take its place.",
            )
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(folder.resolve(), target_is_directory=True)
    logger.info("linked %s to %s", target, folder)
