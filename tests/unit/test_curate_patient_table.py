import io

import openpyxl
import pytest
from curate_folders import OPTIONS, curate, raw_folder, rejects_of  # noqa: F401
from hypothesis import given
from hypothesis import strategies as st

from scanline.core.errors import InputError
from scanline.curate.patient_table import patient_key


def sheet(*rows) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def write(raw, content: bytes):
    raw.write("MedInfo.xlsx", content)


def notes(curated):
    return [(row, action, reason) for path, row, action, reason in rejects_of(curated) if path == "MedInfo.xlsx"]


def test_absent_is_fine_and_adds_no_columns(raw):
    assert not {"age_years", "sex"} & set(curate(raw).images.columns)


@pytest.mark.parametrize("patients", [(1, 2), ("1", "2"), ("0001", "0002"), (1.0, 2.0)])
def test_a_spreadsheet_joins_by_number_or_text(raw, patients):
    write(raw, sheet(("ID", "Age", "Sex"), (patients[1], 70, "F"), (patients[0], 61.5, "M")))
    curated = curate(raw.add(2, 0))
    assert curated.images["age_years"].tolist() == [61.5, 70]
    assert curated.images["sex"].tolist() == ["male", "female"]
    assert notes(curated) == [(None, "noted", "patient_table")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_under_any_suffix_is_told_by_its_content(raw, delimiter):
    write(raw, "ID,Sex,Age\n1,M,61\n".replace(",", delimiter).encode("utf-8-sig"))
    assert curate(raw).images["age_years"].tolist() == [61]


def test_unmatched_patients_are_noted_on_both_sides(raw):
    write(raw, b"ID,Age,Sex\n7,61,M\n2,50,F\n")
    curated = curate(raw.add(2, 0))
    assert notes(curated) == [
        (None, "noted", "patient_not_in_table"),
        (None, "noted", "patient_table"),
        (0, "noted", "patient_without_images"),
    ]
    assert curated.images["age_years"].isna().tolist() == [True, False]


def test_empty_and_unreadable_values_are_unknown(raw):
    write(raw, b"ID,Age,Sex\n1,old,\n2,-4,F\n,30,M\n,,\n")
    curated = curate(raw.add(2, 0))
    assert curated.images["age_years"].isna().all()
    assert curated.images["sex"].isna().tolist() == [True, False]
    assert notes(curated)[1:] == [
        (0, "noted", "patient_value"),
        (1, "noted", "patient_value"),
        (2, "refused", "patient_missing"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Number,Age,Sex\n1,61,M\n", "found the columns Number, Age, Sex; expected a column ID"),
        (b"ID,Age\n1,61\n", "expected a column Sex"),
        (b"ID,Age,Sex\n1,61,M\n0001,61,M\n", "patient 1 in rows 1 and 2"),
        (b"ID,Age,Sex\n1,61,X\n", "row 1, sex: found 'X'; expected one of F, M"),
        (b"", "no readable table"),
        (b"ID,Age,Sex\n1,2,3,4,5\n1,2,3,4,5,6\n", "no readable table"),
        (b"\xff\xfeI\x00D\x00", "no readable table"),
        (b"PK\x03\x04 no archive", "no readable table"),
    ],
)
def test_a_bad_table_is_one_line(raw, content, message):
    write(raw, content)
    with pytest.raises(InputError) as error:
        curate(raw)
    assert message in str(error.value)


def test_a_metadata_name_of_the_images_table_is_refused(raw):
    write(raw, b"ID,Age,Sex\n1,61,M\n")
    table = OPTIONS["patient_table"] | {"columns": {"path": "Age"}}
    with pytest.raises(InputError, match="metadata name path"):
        curate(raw, patient_table=table)


def test_other_metadata_is_text(raw):
    write(raw, b"ID,Ward\n1,12\n")
    table = OPTIONS["patient_table"] | {"columns": {"ward": "Ward"}}
    assert curate(raw, patient_table=table).images["ward"].tolist() == ["12"]


@given(st.integers(0, 10**6), st.integers(0, 8), st.sampled_from(["", ".0"]))
def test_one_patient_has_one_key_however_written(number, digits, tail):
    assert patient_key(f" {number:0{digits}d}{tail} ") == str(number)
