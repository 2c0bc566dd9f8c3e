"""The scan of a source's raw files: each read once, hashed, decoded strictly and measured; a row a file, in shards.

It knows nothing of the layout: which of the files are images, masks or annotations is told later, so that another
layout, class or label never reads the pixels again.
"""

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pandera.pandas import Column, DataFrameSchema
from pydantic import Field

from scanline.core.errors import InputError
from scanline.core.images import GreyScale, Window
from scanline.core.tables import validate
from scanline.curate.entries import Header
from scanline.curate.inspection import Grey, Inspected, inspect_all, inspect_image
from scanline.curate.options import Reading

SCAN = DataFrameSchema(
    {
        "path": Column("str", coerce=True),
        "frame": Column("Int64", nullable=True, coerce=True),  # null of a file of one image
        "sha256": Column("str", coerce=True),
        "width": Column("Int64", nullable=True, coerce=True),
        "height": Column("Int64", nullable=True, coerce=True),
        "problem": Column("str", nullable=True, coerce=True),
        "phash": Column("str", nullable=True, coerce=True),
        "thumbnail": Column("object", nullable=True, coerce=True),
        "channels": Column("str", coerce=True),
        "grey_mean": Column("float64", nullable=True, coerce=True),
        "grey_sd": Column("float64", nullable=True, coerce=True),
        "grey_min": Column("Int64", nullable=True, coerce=True),
        "grey_max": Column("Int64", nullable=True, coerce=True),
        "odd_values": Column("str", coerce=True),
        "header": Column("str", nullable=True, coerce=True),  # JSON, of DICOM files
        "window_center": Column("float64", nullable=True, coerce=True),  # of DICOM files and volumes
        "window_width": Column("float64", nullable=True, coerce=True),
        "repairs": Column("str", coerce=True),
        "is_positive": Column("bool", coerce=True),
        "affine": Column("str", nullable=True, coerce=True),  # JSON, of NIfTI volumes
    },
    unique=["path", "frame"],
    strict=True,
    ordered=True,
    name="scan",
)


class ScanShard(Reading):
    """What the rule scan_files is told of one shard of a source's files."""

    folder: str = Field(description="Folder of the raw files, relative to the project.")
    shard: int = Field(ge=0, description="Number of the shard, from 0.")
    shards: int = Field(ge=1, description="How many there are.")


def scale_of(reading: Reading) -> GreyScale:
    """How values become grey."""
    window = Window(reading.window_center_hu, reading.window_width_hu)
    return GreyScale(reading.grey_scale, window, reading.black_percentile, reading.white_percentile)


def scan_shard(files: pd.DataFrame, manifest: Path, options: ScanShard, threads: int | None = None) -> pd.DataFrame:
    """Read one shard of a source's files: every `shards`-th of its manifest, in the order of their paths.

    Args:
        files: The manifest: FILES table of n files, paths relative to the source's folder.
        manifest: Where the manifest stands, for errors.
        options: Folder and shard.
        threads: How many files are read side by side; all cores of this process if None.

    Returns:
        SCAN table of a row a file, or an image of a file of several: size, statistics of the grey values (0 to 255),
        perceptual hash and thumbnail of files that decode as an image; `problem` says why the others do not.

    Raises:
        InputError: If a file is gone, or has other bytes than the manifest says.
    """
    mine = files.sort_values("path").iloc[options.shard :: options.shards]
    folder = Path(options.folder)
    check_sizes(folder, mine, manifest)
    inspect = partial(inspect_image, scale=scale_of(options), repairs=options.repairs)
    found = inspect_all(inspect, folder, mine["path"].tolist(), "file", threads)
    check_hashes(folder, found, dict(zip(mine["path"], mine["sha256"], strict=True)), manifest)
    rows = [row for path, inspected in found.items() for row in _rows(path, inspected)]
    return validate(pd.DataFrame(rows, columns=list(SCAN.columns)), SCAN, "scan table")


def _rows(path: str, found: Inspected) -> list[dict[str, object]]:
    """A row, or one a frame of a file of several images."""
    if not found.frames:
        return [_row(path, None, found)]
    return [_row(path, number, frame) for number, frame in enumerate(found.frames)]


def _row(path: str, number: int | None, found: Inspected) -> dict[str, object]:
    width, height = found.size or (None, None)
    grey = found.grey
    return {
        "path": path,
        "frame": number,
        "sha256": found.sha256,
        "width": width,
        "height": height,
        "problem": found.problem,
        "phash": found.phash,
        "thumbnail": found.thumbnail,
        "channels": " ".join(found.channels),
        "grey_mean": None if grey is None else grey.mean,
        "grey_sd": None if grey is None else grey.sd,
        "grey_min": None if grey is None else grey.least,
        "grey_max": None if grey is None else grey.largest,
        "odd_values": " ".join(map(str, found.odd_values)),
        "header": None if found.header is None else json.dumps(asdict(found.header), sort_keys=True),
        "window_center": None if found.window is None else found.window.center_hu,
        "window_width": None if found.window is None else found.window.width_hu,
        "repairs": " ".join(found.repairs),
        "is_positive": found.is_positive,
        "affine": None if found.affine is None else json.dumps(found.affine),
    }


def inspected_of(scan: pd.DataFrame) -> dict[str, Inspected]:
    """What a SCAN table tells of each file, by path."""
    found: dict[str, Inspected] = {}
    rows = scan.sort_values(["path", "frame"]).astype(object)
    for row in rows.where(rows.notna(), None).to_dict("records"):
        path, one = str(row["path"]), _inspected(row)
        if row["frame"] is None:
            found[path] = one
        elif path not in found:
            found[path] = replace(one, frames=(one,), phash=None, thumbnail=None)
        else:
            found[path] = replace(found[path], frames=(*found[path].frames, one))
    return found


def _inspected(row: Mapping[Hashable, Any]) -> Inspected:
    header = None if row["header"] is None else Header(**json.loads(row["header"]))
    if row["problem"] is not None:
        return Inspected(row["sha256"], problem=row["problem"], header=header)
    return Inspected(
        row["sha256"],
        (int(row["width"]), int(row["height"])),
        phash=row["phash"],
        thumbnail=row["thumbnail"],
        channels=tuple(row["channels"].split()),
        grey=Grey(row["grey_mean"], row["grey_sd"], int(row["grey_min"]), int(row["grey_max"])),
        odd_values=tuple(map(int, row["odd_values"].split())),
        header=header,
        window=None if row["window_width"] is None else Window(row["window_center"], row["window_width"]),
        repairs=tuple(row["repairs"].split()),
        is_positive=bool(row["is_positive"]),
        affine=None if row["affine"] is None else tuple(json.loads(row["affine"])),
    )


def check_sizes(folder: Path, files: pd.DataFrame, manifest: Path) -> None:
    """Check that each file of a manifest is still there with as many bytes, before any is read.

    Raises:
        InputError: If it is not.
    """
    for path, size in zip(files["path"], files["bytes"], strict=True):
        file = folder / path
        if not file.is_file():
            raise _changed(file, "no such file", manifest)
        if file.stat().st_size != size:
            raise _changed(file, f"{file.stat().st_size} bytes", manifest)


def check_hashes(folder: Path, found: Mapping[str, Inspected], sha256: Mapping[str, str], manifest: Path) -> None:
    """Check that the bytes that were read are those of the manifest, `sha256` by path.

    Raises:
        InputError: If they are not.
    """
    for path, inspected in found.items():
        if inspected.sha256 is None:
            raise _changed(folder / path, "no such file", manifest)
        if inspected.sha256 != sha256[path]:
            raise _changed(folder / path, f"SHA-256 {inspected.sha256[:12]}...", manifest)


def check_complete(scan: pd.DataFrame, files: pd.DataFrame, manifest: Path) -> None:
    """Check that a scan, all shards together, is of the files of a manifest.

    Raises:
        InputError: If it is not.
    """
    scanned, listed = _pairs(scan), _pairs(files)
    if scanned != listed:
        path, _ = min(scanned ^ listed)
        raise InputError(
            f"scan of {manifest.parent}",
            found=f"another scan than of the manifest's {len(files)} files, first {path!r}",
            expected=f"the files that {manifest} lists",
            next_step="The tables are of different runs: delete the scan and run again.",
        )


def _pairs(table: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(table["path"], table["sha256"], strict=True))


def join_shards(shards: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """All shards of a source as one table, by path and frame."""
    return pd.concat(list(shards), ignore_index=True).sort_values(["path", "frame"], ignore_index=True)


def _changed(file: Path, found: str, manifest: Path) -> InputError:
    return InputError(
        file,
        found=found,
        expected=f"the file that the manifest {manifest} lists",
        next_step=f"If the change is meant, rescan: rm '{manifest}' and run the same command again.",
    )
