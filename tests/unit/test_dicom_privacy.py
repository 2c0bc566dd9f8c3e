"""No identifier reaches a table, a message or a log, of malformed headers least of all."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian
from source_folders import curated, dicom, reasons, write

from scanline.acquire.manifest import make_manifest
from scanline.core.dicom import decode_dicom, header_window, is_dicom, read_dicom
from scanline.core.dicom_header import acquisition_of, instance_number_of, number_of
from scanline.core.images import ImageError, Window
from scanline.core.tables import FILES, write_table

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
VALUES = np.random.default_rng(1).integers(0, 80, (24, 32)).astype(np.int16)
# Element to a value that pydicom reads, as long as the text that the test puts in its place.
NUMBERS = {
    "WindowCenter": "DS",
    "WindowWidth": "DS",
    "RescaleSlope": "DS",
    "RescaleIntercept": "DS",
    "EchoTime": "DS",
    "SliceThickness": "DS",
    "PixelSpacing": "DS",
    "ImagePositionPatient": "DS",
    "InstanceNumber": "IS",
    "NumberOfFrames": "IS",
}
NAME = "ZZDOE^JA"
DIGITS = "12345678"
TERMS = ("Modality", "MRAcquisitionType", "BodyPartExamined", "Laterality", "VOILUTFunction")


def malformed(element: str) -> bytes:
    """A file whose number of this name is a patient's."""
    content = dicom(VALUES, **{element: DIGITS})
    assert content.count(DIGITS.encode()) == 1
    return content.replace(DIGITS.encode(), NAME.encode())


def files() -> dict[str, bytes]:
    """One damaged file for each element, and more, each with identifiers in it."""
    found = {name: malformed(name) for name in NUMBERS}
    found |= {name: dicom(VALUES + 1, **{name: "ZZ DOE JANE"}) for name in TERMS}
    found["PhotometricInterpretation"] = dicom(VALUES, PhotometricInterpretation="ZZDOE JANE")
    found["uid"] = dicom(VALUES + 2, SOPInstanceUID="1.2.3.77777").replace(b"1.2.3.77777", b"ZZDOE.77777")
    syntax = dicom(VALUES).replace(ExplicitVRLittleEndian.encode() + b"\0", b"1.2.ZZDOE.77777.12\0\0")
    found["syntax"] = syntax
    found["truncated"] = dicom(VALUES, PatientID="ZZDOE")[:-30]
    found["header"] = dicom(VALUES, PatientID="ZZDOE")[:300]
    return found


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_malformed_headers_reach_no_output_of_the_scan(tmp_path):
    folder = tmp_path / "raw"
    for name, content in files().items():
        write(folder / f"v-{name}/IM1.dcm", content)
    table = make_manifest(folder)
    write_table(table, tmp_path / "files.parquet", FILES)
    for scale in ("window", "header_window"):
        options = {"folder": str(folder), "shard": 0, "shards": 1, "grey_scale": scale}
        command = [sys.executable, str(SCRIPTS / "scan_files.py"), "--files", str(tmp_path / "files.parquet")]
        command += ["--scan", str(tmp_path / "scan.parquet"), "--threads", "4", "--options", json.dumps(options)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        written = done.stdout + done.stderr
        tables, _ = curated(folder, "dicom_series", {}, grey_scale=scale)
        scan = (tmp_path / "scan.parquet").read_bytes().decode("latin-1")
        parts = (tables.images, tables.boxes, tables.labels, tables.rejects, tables.headers)
        written += scan + "".join(part.to_csv() for part in parts)
        assert [text for text in ("ZZ", "JANE", "77777") if text in written] == []
        assert "warn" not in done.stderr.lower()


def test_numbers_that_are_none_are_unknown_and_the_image_is_kept(tmp_path):
    for name in ("EchoTime", "SliceThickness", "PixelSpacing", "InstanceNumber", "WindowCenter"):
        write(tmp_path / f"v-{name}/IM1.dcm", malformed(name))
    tables, flow = curated(tmp_path, "dicom_series", {}, grey_scale="header_window")
    assert flow["images"] == 5
    assert reasons(tables) == {}
    assert tables.headers[["echo_time_ms", "slice_thickness_mm", "row_spacing_mm"]].isna().all().all()
    assert number_of(read_dicom(malformed("EchoTime")), "EchoTime") is None
    assert instance_number_of(read_dicom(malformed("InstanceNumber"))) is None
    assert header_window(read_dicom(malformed("WindowCenter"))) is None


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
def test_a_slope_that_is_no_number_is_refused_and_never_taken_for_1(name):
    with pytest.raises(ImageError, match=f"damaged DICOM: its {name} is no number"):
        decode_dicom(malformed(name), Window())


def test_terms_that_dicom_does_not_define_are_unknown():
    fields = {"Modality": "MR", "BodyPartExamined": "DOE JANE", "Laterality": "X"}
    found = acquisition_of(read_dicom(dicom(VALUES, **fields)))
    assert found["modality"] == "MR"
    assert not {"body_part", "laterality"} & set(found)
    assert acquisition_of(read_dicom(dicom(VALUES, BodyPartExamined="KNEE")))["body_part"] == "KNEE"


def test_a_truncated_header_is_told_as_what_it_is(tmp_path):
    write(tmp_path / "v-1/IM1.dcm", dicom(VALUES, InstanceNumber=1))
    write(tmp_path / "v-1/IM2.dcm", dicom(VALUES, InstanceNumber=2)[:300])
    write(tmp_path / "v-1/notes.dcm", "no DICOM at all")
    tables, _ = curated(tmp_path, "dicom_series", {})
    assert reasons(tables) == {"image_unreadable": 1, "not_dicom": 1}
    detail = tables.rejects.set_index("reason").loc["image_unreadable", "detail"]
    assert "DICOM" in detail


@pytest.mark.parametrize("meta", ["kept", "dropped"])
def test_files_without_a_preamble_are_read(tmp_path, meta):
    whole = dicom(VALUES, InstanceNumber=3)
    bare = whole[132:]
    if meta == "dropped":
        bare = bare[bare.index(b"\x08\x00\x16\x00") :]
    assert is_dicom(bare)
    assert np.array_equal(decode_dicom(bare, Window())[0], decode_dicom(whole, Window())[0])
    assert instance_number_of(read_dicom(bare)) == 3


@pytest.mark.parametrize("content", [b"", b"\x08", b"\x08\x00\x16\x00", b"\x02\x00\x00\x00" + b"\xff" * 200])
def test_bytes_that_only_begin_like_dicom_are_one_line(content):
    with pytest.raises(ImageError):
        decode_dicom(content, Window())
