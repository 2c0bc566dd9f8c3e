"""Patients that a layout tells apart and whose DICOM headers name the same PatientID."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal

from scanline.curate.entries import Entry, Header, Reject

SHOWN = 5  # folders in a note


def match_header_patients(
    entries: Sequence[Entry], headers: Mapping[str, Header | None], action: Literal["note", "tie"]
) -> tuple[list[Entry], list[Reject]]:
    """Compare the patients of the layout with the PatientID of the headers.

    Args:
        entries: Of a source; those whose patient the layout does not tell are left as they are.
        headers: Of DICOM files, by path.
        action: note: nothing is changed. tie: patients that any PatientID links, directly or over others, are one:
            patient_id is then the least digest of theirs, which other sources of the same numbering share.

    Returns:
        The entries in their order; a note for each PatientID, as a digest, of several patients.
    """
    of_digest: dict[str, dict[str, str]] = defaultdict(dict)  # PatientID to patients of the layout, each to a folder
    for entry in entries:
        header = headers.get(entry.path)
        if entry.patient_id is not None and header is not None and header.patient is not None:
            of_digest[header.patient].setdefault(entry.patient_id, str(PurePosixPath(entry.path).parent))
    notes = []
    for digest, patients in sorted(of_digest.items()):
        if len(patients) > 1:
            folders = sorted(patients.values())
            named = ", ".join(folders[:SHOWN]) + (", ..." if len(folders) > SHOWN else "")
            done = "one patient" if action == "tie" else "kept as they are (same_patient_id: tie makes them one)"
            detail = f"headers name one PatientID, {digest} as a digest, in {len(folders)} folders: {named}: {done}"
            first = min(e.path for e in entries if e.patient_id in patients)
            notes.append(Reject(first, None, "noted", "patient_id_shared", detail))
    if action == "note":
        return list(entries), notes
    tied = _least_digests({digest: set(patients) for digest, patients in of_digest.items()})
    return [replace(entry, patient_id=tied.get(entry.patient_id or "", entry.patient_id)) for entry in entries], notes


def _least_digests(of_digest: Mapping[str, set[str]]) -> dict[str, str]:
    """Patient to the least of the digests that it is linked with, over any number of other patients."""
    components: list[tuple[str, set[str]]] = []
    for digest, patients in sorted(of_digest.items()):
        linked = [one for one in components if one[1] & patients]
        components = [one for one in components if one not in linked]
        components.append((min([digest, *(name for name, _ in linked)]), patients.union(*(own for _, own in linked))))
    return {patient: digest for digest, patients in components for patient in patients}
