"""The engine common to all adapters: every file of a source's manifest to tables and rejects, none lost."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pandas as pd

from scanline.core.errors import InputError
from scanline.core.file_names import is_volume
from scanline.core.images import EXIF_ORIENTATION, FIRST_FRAME, SIXTEEN_BITS
from scanline.core.options import Options
from scanline.core.tables import BOXES, HEADERS, IMAGES, REJECTS, THUMBNAILS, labels_schema, make_table
from scanline.curate.accounting import READ_REASONS, check_nothing_lost, refuse_files_of_frames, refuse_orphans
from scanline.curate.duplicates import DUPLICATE_REASONS, find_duplicates
from scanline.curate.entries import (
    AnyAdapter,
    Entries,
    Entry,
    FrameAdapter,
    Header,
    HeaderAdapter,
    Reject,
    SizeAdapter,
)
from scanline.curate.file_scan import ScanShard, check_complete, check_hashes, check_sizes, inspected_of, scan_shard
from scanline.curate.header_patients import match_header_patients
from scanline.curate.inspection import Inspected, inspect_all, inspect_file
from scanline.curate.judge import Verdict, judge
from scanline.curate.label_table import merge_labels, read_label_table
from scanline.curate.layouts import check_layout, load_adapter
from scanline.curate.lost_lesions import lesions_of_images, lesions_of_rows, widen_unknown
from scanline.curate.mask_grids import refuse_other_grids
from scanline.curate.options import CurateOptions, CurateSource
from scanline.curate.patient_table import Patients, match_patients, patient_key, read_patient_table
from scanline.curate.slice_order import order_slices

STAGE = "curate"
REPAIR_DETAILS = {
    EXIF_ORIENTATION: "its EXIF says that it was stored turned or mirrored: set upright",
    FIRST_FRAME: "several frames in one file: the first is the image",
    SIXTEEN_BITS: "more than 8 bits a channel: stretched from the least value to the largest",
}


@dataclass(frozen=True)
class Curated:
    """The tables of one source; `images` has a column annotation_path besides those of its schema."""

    images: pd.DataFrame
    boxes: pd.DataFrame
    labels: pd.DataFrame
    rejects: pd.DataFrame
    thumbnails: pd.DataFrame
    headers: pd.DataFrame


@dataclass(frozen=True)
class _Source:
    """One source's name, folder, options and manifest."""

    name: str
    folder: Path
    options: CurateOptions
    manifest: Path
    sha256: Mapping[str, str]  # path to hash, as the manifest has them


def curate_source(
    name: str, files: pd.DataFrame, manifest: Path, options: CurateSource, scan: pd.DataFrame | None = None
) -> Curated:
    """Curate one source.

    Args:
        name: The source's name; it begins every id.
        files: The manifest: FILES table, paths relative to the source's folder.
        manifest: Where the manifest stands, for errors.
        options: Folder, the study's classes, and the source's options.
        scan: SCAN table of all files of the manifest; None to read them now.

    Returns:
        The tables, in order of image_id; they do not depend on the order of `files`.

    Raises:
        InputError: If the layout is wrong, a class is not mapped, a file changed since the manifest was made, the scan
            is of other files, no image is left, or the patient table or the label table is wrong.
    """
    folder = Path(options.folder)
    layout = check_layout(options.curate, f"sources.{name}.curate")
    hashes = dict(zip(files["path"], files["sha256"], strict=True))
    source = _Source(name, folder, options.curate, manifest, hashes)
    check_sizes(folder, files, manifest)
    if scan is None:
        shard = ScanShard(folder=options.folder, shard=0, shards=1, **options.curate.of_scan())
        scan = scan_shard(files, manifest, shard)
    check_complete(scan, files, manifest)
    scanned = inspected_of(scan)
    entries, rejects, others = _read_entries(source, load_adapter(options.curate.adapter), scanned, layout)
    read = [reject.path for reject in rejects if reject.reason in READ_REASONS]
    _check_hashes(source, inspect_all(inspect_file, folder, read, "file"))
    _check_classes(source, entries)
    _check_annotations(source, entries)
    kept, gone, refused = _refuse_images(source, entries, scanned)
    verdicts = [judge(entry, _found(entry, scanned).size, _mask_of(entry, scanned), options.curate) for entry in kept]
    if not verdicts:
        raise InputError(
            folder,
            found=f"{len(entries)} images, none that can be used ({refused[0].detail if refused else 'refused'})",
            expected="images",
            next_step="Check that the data is whole, then run the same command again.",
        )
    lost = lesions_of_rows(rejects, source.options)
    lost |= lesions_of_images([(entry, _mask_of(entry, scanned)) for entry in gone], source.options)
    rejects = [*rejects, *refused, *(reject for verdict in verdicts for reject in verdict.rejects)]
    rejects += _refuse_unused_masks(kept, verdicts)
    rejects += refuse_orphans(gone, verdicts, rejects)
    rejects += _note_channels(kept, scanned)
    rejects += _note_repairs(kept, scanned)
    rejects += _note_ignored_labels(kept, options.curate)
    rejects += _note_others(others, options.curate)
    check_nothing_lost(source.sha256, source.options.adapter, verdicts, rejects)
    patients = _patients(source)
    if patients is not None and options.curate.patient_table is not None:
        seen = [verdict.entry.patient_id for verdict in verdicts if verdict.entry.patient_id is not None]
        rejects += [*patients.rejects, *match_patients(patients, seen, options.curate.patient_table)]
    verdicts, of_labels = _add_label_table(source, options.labels, verdicts)
    verdicts, of_lost = widen_unknown(verdicts, lost)
    return _tables(source, options.labels, verdicts, scanned, [*rejects, *of_labels, *of_lost], patients)


def _read_entries(source: _Source, adapter: AnyAdapter, scanned: Mapping[str, Inspected], layout: Options) -> Entries:
    """What the adapter makes of the files; where an entry lacks patient, volume or position, its DICOM header tells."""
    files = sorted(source.sha256)
    headers = {path: scanned[path].header for path in files}
    if isinstance(adapter, HeaderAdapter):
        entries, rejects, others = adapter.match_entries(source.folder, headers, layout)
    elif isinstance(adapter, FrameAdapter):
        frames = {path: 0 if (one := scanned[path]).problem is not None else len(one.frames) or 1 for path in files}
        entries, rejects, others = adapter.match_frames(source.folder, frames, layout)
    elif isinstance(adapter, SizeAdapter):
        sizes = {path: scanned[path].size for path in files}
        entries, rejects, others = adapter.match_sizes(source.folder, sizes, layout)
    else:
        entries, rejects, others = adapter.read_entries(source.folder, files, layout)
    entries, shared = match_header_patients(entries, headers, source.options.same_patient_id)
    entries = [_with_header(entry, headers.get(entry.path)) for entry in entries]
    entries = [one for entry in entries for one in _by_frame(entry, scanned.get(entry.path))]
    entries, notes = order_slices(entries, [_order_header(entry, scanned) for entry in entries])
    entries, refused = refuse_other_grids(entries, scanned)
    return entries, [*rejects, *shared, *notes, *refused], others


def _with_header(entry: Entry, header: Header | None) -> Entry:
    if header is None:
        return entry
    return replace(entry, patient_id=entry.patient_id or header.patient, volume_id=entry.volume_id or header.series)


def _by_frame(entry: Entry, found: Inspected | None) -> list[Entry]:
    """The frames of a file of several as images; not where boxes or a mask are of one nobody knows.

    Their order is that of the file, but for DICOM, of which headers tell it.
    """
    if found is None or not found.frames or entry.frame is not None or entry.boxes or entry.mask_path is not None:
        return [entry]
    volume = entry.volume_id or entry.path
    numbers = range(len(found.frames))
    if found.header is not None:
        return [replace(entry, frame=number, volume_id=volume) for number in numbers]
    return [replace(entry, frame=number, slice_index=number, volume_id=volume) for number in numbers]


def _order_header(entry: Entry, scanned: Mapping[str, Inspected]) -> Header | None:
    """The header that places a slice among others; None of one that is refused and of which it tells no place."""
    found = _found(entry, scanned)
    is_lost = found.problem is not None and (found.header is None or found.header.position_mm is None)
    return None if is_lost else found.header


def _found(entry: Entry, scanned: Mapping[str, Inspected]) -> Inspected:
    """What the scan found of an entry's image; of one without a file nothing but the declared size is known."""
    found = scanned.get(entry.path)
    if found is None:
        return Inspected(None, entry.declared_size)
    if entry.frame is None and found.frames:
        return Inspected(found.sha256, problem="several frames in one file")
    if entry.frame is None or found.problem is not None:
        return found
    if entry.frame >= len(found.frames):
        return Inspected(found.sha256, problem=f"no frame {entry.frame} among {len(found.frames)}")
    return found.frames[entry.frame]


def _mask_of(entry: Entry, scanned: Mapping[str, Inspected]) -> Inspected | None:
    """What the scan found of an entry's mask; None where it has none."""
    if entry.mask_path is None:
        return None
    return _found(replace(entry, path=entry.mask_path), scanned)


def _check_hashes(source: _Source, inspected: Mapping[str, Inspected]) -> None:
    check_hashes(source.folder, inspected, source.sha256, source.manifest)


def _check_classes(source: _Source, entries: Iterable[Entry]) -> None:
    for entry in entries:
        for box in entry.boxes or ():
            _check_class(source, box.path or entry.annotation_path or entry.path, box.label)
        for name in entry.labels or ():
            _check_class(source, entry.annotation_path or entry.path, name)


def _check_class(source: _Source, path: str, name: str) -> None:
    if name not in source.options.classes and name not in source.options.ignored_classes:
        known = ", ".join(repr(other) for other in sorted(source.options.classes))
        raise InputError(
            source.folder / path,
            found=f"the class {name!r}",
            expected=f"one of {known or 'no class at all'}",
            next_step=f"Add it to sources.{source.name}.curate.classes in the study file, or to ignored_classes there.",
        )


def _check_annotations(source: _Source, entries: Sequence[Entry]) -> None:
    """Hash the annotations, just read, again."""
    paths = sorted({entry.annotation_path for entry in entries if entry.annotation_path is not None})
    _check_hashes(source, inspect_all(inspect_file, source.folder, paths, "annotation"))


def _image_id(source: _Source, entry: Entry) -> str:
    name = entry.name
    if name is None:
        path = PurePosixPath(entry.path.removesuffix(".gz") if is_volume(entry.path) else entry.path)
        name = f"{path.with_suffix('')}" if entry.frame is None else f"{path.with_suffix('')}/{entry.frame:03d}"
    return f"{source.name}/{name}"


def _refuse_images(
    source: _Source, entries: Sequence[Entry], scanned: Mapping[str, Inspected]
) -> tuple[list[Entry], list[Entry], list[Reject]]:
    """Entries whose image holds, the others, and a reject for each of these."""
    ids = Counter(_image_id(source, entry) for entry in entries)
    duplicates = find_duplicates(entries, scanned) if source.options.duplicate_files == "refuse" else {}
    kept: list[Entry] = []
    gone: list[Entry] = []
    rejects: list[Reject] = []
    for entry in entries:
        found = _found(entry, scanned)
        if found.problem is not None:
            reason, detail = "image_unreadable", str(found.problem)
        elif ids[_image_id(source, entry)] > 1:
            reason, detail = "duplicate_image_id", f"{_image_id(source, entry)} is also another image's id"
        elif entry.declared_size is not None and found.size is not None and entry.declared_size != found.size:
            declared = f"{entry.declared_size[0]} x {entry.declared_size[1]}"
            actual = f"{found.size[0]} x {found.size[1]}"
            reason, detail = "size_differs", f"{actual}, its annotation {entry.annotation_path} says {declared}"
        elif _is_of_ignored_class(entry, source.options):
            reason, detail = "class_ignored", f"its class is {', '.join(map(repr, entry.labels or ()))}"
        elif entry.path in duplicates:
            reason, detail = duplicates[entry.path]
        else:
            kept.append(entry)
            continue
        if reason not in DUPLICATE_REASONS or not (gone and gone[-1].path == entry.path):  # a file of frames: once
            row = None if reason in DUPLICATE_REASONS else entry.frame
            rejects.append(Reject(entry.path, row, "refused", reason, detail))
        gone.append(entry)
    with_image = {entry.path for entry in kept}
    wholly_gone = [entry for entry in gone if entry.path not in with_image]
    return kept, gone, [*rejects, *refuse_files_of_frames(wholly_gone, rejects)]


def _is_of_ignored_class(entry: Entry, options: CurateOptions) -> bool:
    return entry.has_one_class and all(name in options.ignored_classes for name in entry.labels or ())


def _refuse_unused_masks(kept: Sequence[Entry], verdicts: Sequence[Verdict]) -> list[Reject]:
    """Refuse, as files, the masks of volumes of which no slice can be used."""
    masks = {entry.mask_path for entry in kept if entry.frame is not None and entry.mask_path is not None}
    masks -= {verdict.entry.mask_path for verdict in verdicts}
    return [Reject(path, None, "refused", "mask_unusable", "none of its slices can be used") for path in sorted(masks)]


def _note_channels(kept: Iterable[Entry], scanned: Mapping[str, Inspected]) -> list[Reject]:
    """Note the images with transparency, two or four channels, of which only the grey values are used."""
    return [
        Reject(
            entry.path, None, "noted", "channels_reduced", f"{len(channels)} channels, {' '.join(channels)}: to grey"
        )
        for entry in kept
        if "A" in (channels := _found(entry, scanned).channels)
    ]


def _note_repairs(kept: Iterable[Entry], scanned: Mapping[str, Inspected]) -> list[Reject]:
    """Count each repair of each kept image."""
    return [
        Reject(entry.path, None, "repaired", name, REPAIR_DETAILS[name])
        for entry in kept
        for name in _found(entry, scanned).repairs
    ]


def _note_ignored_labels(kept: Iterable[Entry], options: CurateOptions) -> list[Reject]:
    """Count, for each ignored class of a layout's own table, the images that show it; boxes are counted one by one."""
    shown = Counter(
        (entry.annotation_path or entry.path, name)
        for entry in kept
        for name, value in (entry.labels or {}).items()
        if value and name in options.ignored_classes
    )
    return [
        Reject(path, None, "noted", "class_ignored", f"{name!r} is on {count} images")
        for (path, name), count in sorted(shown.items())
    ]


def _note_others(others: Iterable[str], options: CurateOptions) -> list[Reject]:
    tables = {
        table.path: reason
        for reason, table in (("patient_table", options.patient_table), ("label_table", options.label_table))
        if table is not None
    }
    return [
        Reject(path, None, "noted", tables[path], f"read as the {tables[path].replace('_', ' ')}")
        if path in tables
        else Reject(path, None, "noted", "not_in_layout", "matches nothing of the layout: not used")
        for path in others
    ]


def _patients(source: _Source) -> Patients | None:
    """The patient table where the source has one and the manifest lists it."""
    options = source.options.patient_table
    if options is None or options.path not in source.sha256:
        return None
    _check_hashes(source, {options.path: inspect_file(source.folder / options.path)})
    return read_patient_table(source.folder, options)


def _add_label_table(
    source: _Source, labels: Sequence[str], verdicts: list[Verdict]
) -> tuple[list[Verdict], list[Reject]]:
    """The verdicts with the labels of the label table where the source has one and the manifest lists it."""
    options = source.options.label_table
    if options is None or options.path not in source.sha256:
        return verdicts, []
    _check_hashes(source, {options.path: inspect_file(source.folder / options.path)})
    return merge_labels(read_label_table(source.folder, options, labels), verdicts, options, source.folder)


def _tables(
    source: _Source,
    labels: Sequence[str],
    verdicts: Sequence[Verdict],
    scanned: Mapping[str, Inspected],
    rejects: Iterable[Reject],
    patients: Patients | None,
) -> Curated:
    verdicts = sorted(verdicts, key=lambda verdict: _image_id(source, verdict.entry))
    ids = [_image_id(source, verdict.entry) for verdict in verdicts]
    found = [_found(verdict.entry, scanned) for verdict in verdicts]
    box_rows: list[dict[str, object]] = [
        {"image_id": key, "label": label, "x": b.x, "y": b.y, "width": b.width, "height": b.height}
        for key, verdict in zip(ids, verdicts, strict=True)
        for label, b in verdict.boxes
    ]
    label_rows: list[dict[str, object]] = [
        {"image_id": key, **{name: verdict.labels.get(name) for name in labels}}
        for key, verdict in zip(ids, verdicts, strict=True)
    ]
    thumbnail_rows: list[dict[str, object]] = [
        {"image_id": key, "thumbnail": one.thumbnail}
        for key, one in zip(ids, found, strict=True)
        if one.thumbnail is not None
    ]
    header_rows: list[dict[str, object]] = [
        {"image_id": key, "slice_position_mm": one.header.position_mm, **one.header.acquisition}
        for key, one in zip(ids, found, strict=True)
        if one.header is not None
    ]
    ordered = sorted(rejects, key=lambda r: (r.path, -1 if r.row is None else r.row, r.action, r.reason, r.detail))
    reject_rows: list[dict[str, object]] = [
        {
            "source": source.name,
            "path": reject.path,
            "row": reject.row,
            "stage": STAGE,
            "action": reject.action,
            "reason": reject.reason,
            "detail": reject.detail,
        }
        for reject in ordered
    ]
    return Curated(
        images=make_table(
            [_image_row(source, v.entry, one, patients) for v, one in zip(verdicts, found, strict=True)], IMAGES
        ),
        boxes=make_table(box_rows, BOXES),
        labels=make_table(label_rows, labels_schema(labels)),
        rejects=make_table(reject_rows, REJECTS),
        thumbnails=make_table(thumbnail_rows, THUMBNAILS),
        headers=make_table(header_rows, HEADERS),
    )


def _image_row(source: _Source, entry: Entry, found: Inspected, patients: Patients | None) -> dict[str, object]:
    width, height = found.size or (None, None)

    def prefixed(text: str | None, numbering: str) -> str | None:
        return None if text is None else f"{numbering}:{text}"

    def in_folder(path: str | None) -> str | None:
        return None if path is None else f"{source.folder.as_posix()}/{path}"

    row: dict[str, object] = {
        "image_id": _image_id(source, entry),
        "source": source.name,
        "path": in_folder(entry.path) if entry.path in source.sha256 else None,
        "patient_id": prefixed(entry.patient_id, source.options.patient_numbering or source.name),
        "volume_id": prefixed(entry.volume_id, source.name),
        "slice_index": entry.slice_index,
        "width": width,
        "height": height,
        "modality": source.options.modality,
        "sha256": found.sha256,
        "phash": found.phash,
        "grey_mean": None if found.grey is None else found.grey.mean,
        "grey_sd": None if found.grey is None else found.grey.sd,
        "grey_min": None if found.grey is None else found.grey.least,
        "grey_max": None if found.grey is None else found.grey.largest,
        "mask_path": in_folder(entry.mask_path),
        "annotation_path": in_folder(entry.annotation_path),
    }
    if found.window is not None:
        row |= {"window_center_hu": found.window.center_hu, "window_width_hu": found.window.width_hu}
    if entry.frame is not None:
        row["frame_index"] = entry.frame
    if found.repairs:
        row["repairs"] = " ".join(found.repairs)
    row |= entry.metadata
    if patients is not None and source.options.patient_table is not None:
        known = patients.by_patient.get(patient_key(entry.patient_id or ""), {})
        row |= {name: known.get(name) for name in source.options.patient_table.columns}
    return row
