"""MD.ai's boxes on DICOM volumes: matched by the key, ordered by position, and every row and file accounted for."""

import io

import numpy as np
import pytest
from source_folders import curated, dicom, reasons, truth, write

from scanline.core.errors import InputError
from scanline.core.identifiers import digest_of_identifier
from scanline.evaluate.volumes import truth_of_volumes
from scanline.split.stratified import kinds_of_groups

PIXELS = np.random.default_rng(0).integers(0, 900, (6, 24, 32)).astype(np.int16)
LAYOUT = {"annotations": ["boxes.csv"], "key": "key.csv", "volume": r"(?P<patient>TB-\d+)"}
OPTIONS = {"labels": ("tear",), "classes": {"MedPosHorn": "tear", "LatAntHorn": "tear"}, "grey_scale": "percentiles"}
BOX = "{'x': 4.0, 'y': 5.5, 'width': 9.0, 'height': 6.0}"


def slice_of(place: int, number: int, series="1.5", shift=0, **fields) -> bytes:
    position = {"ImagePositionPatient": [0, 0, place * 3.5], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    fields = {**position, "SeriesInstanceUID": series, "InstanceNumber": number, **fields}
    return dicom(PIXELS[place] + shift, SOPInstanceUID=f"{series}.{place}", **fields)


def write_volume(folder, name, shift=0, series="1.5", count=4):
    """Files named against their numbers, and numbered against their positions."""
    for place in range(count):
        write(folder / name / f"IM{place + 1}.dcm", slice_of(place, count - place, series, shift))


def key_of(name: str, count=4) -> str:
    return "".join(f"{name},anon.{name}.{number},{number}\n" for number in range(1, count + 1))


@pytest.fixture
def folder(tmp_path):
    write_volume(tmp_path, "TB-1")
    write_volume(tmp_path, "TB-2", shift=50, series="1.6")
    write(tmp_path / "key.csv", "tbrecon_id,SOPInstanceUID_anon,InstanceNumber\n" + key_of("TB-1") + key_of("TB-2"))
    write_boxes(tmp_path, f'TB-1,anon.TB-1.4,MedPosHorn,"{BOX}"')
    return tmp_path


def write_boxes(folder, *rows):
    write(folder / "boxes.csv", "\n".join(["TBreconID,SOPInstanceUID_anon,labelName,data", *rows, ""]))


def of_volume(tables, name) -> list[bool | None]:
    """The labels of a volume's slices, by the names of their files."""
    images = tables.images.set_index("image_id")["volume_id"]
    names = sorted(image.removeprefix("src/") for image in images.index[images == f"src:{name}"])
    return [truth(tables, image)["tear"] for image in names]


def kind_of(tables, name) -> str:
    """What the volume is for the split's strata, and for evaluation: they agree."""
    inside = (tables.images["volume_id"] == f"src:{name}").to_numpy()
    labels = tables.labels.loc[inside, "tear"]
    kind = kinds_of_groups(tables.images.loc[inside, "volume_id"], labels).item()
    values = labels.astype("boolean").to_numpy(dtype=float, na_value=np.nan)[:, None]
    truth_of_volume = truth_of_volumes(values, np.zeros(len(values), np.intp), 1).item()
    assert kind == {1.0: "with", 0.0: "without"}.get(truth_of_volume, "unknown")
    return kind


def run(folder, **changes):
    return curated(folder, "mdai", LAYOUT, **{**OPTIONS, **changes})


def test_a_box_goes_by_the_key_to_the_slice_of_its_instance_number(folder):
    tables, flow = run(folder)
    (box,) = tables.boxes.to_dict("records")
    assert box["image_id"] == "src/TB-1/IM1"  # instance 4 is the first place
    assert [box[side] for side in ("x", "y", "width", "height")] == [4, 5.5, 9, 6]
    assert flow["labels"]["tear"] == {"positive": 1, "negative": 7, "unknown": 0}
    images = tables.images.set_index("image_id")
    assert images.loc["src/TB-1/IM1", "box_names"] == "MedPosHorn"
    assert set(images["patient_id"]) == {"src:TB-1", "src:TB-2"} == set(images["volume_id"])
    assert (flow["images"], flow["other"], flow["refused"]) == (8, 2, 0)


def test_slices_are_ordered_by_position_and_not_by_name_or_number(folder):
    images = run(folder)[0].images.set_index("image_id")
    assert [images.loc[f"src/TB-1/IM{number}", "slice_index"] for number in (1, 2, 3, 4)] == [0, 1, 2, 3]
    headers = run(folder)[0].headers.set_index("image_id")
    assert [headers.loc[f"src/TB-1/IM{number}", "slice_position_mm"] for number in (1, 2, 3, 4)] == [0, 3.5, 7, 10.5]


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_without_positions_instance_numbers_order_and_that_is_noted(folder, missing):
    write(folder / "TB-1/IM2.dcm", slice_of(1, 3, **{missing: None}))
    tables, _ = run(folder)
    images = tables.images.set_index("image_id")
    assert [images.loc[f"src/TB-1/IM{number}", "slice_index"] for number in (1, 2, 3, 4)] == [4, 3, 2, 1]
    assert reasons(tables)["slices_by_instance_number"] == 1


def test_two_slices_at_one_place_are_ordered_by_number(folder):
    write(folder / "TB-1/IM2.dcm", slice_of(1, 3, ImagePositionPatient=[0, 0, 0]))
    tables, _ = run(folder)
    assert reasons(tables)["slices_by_instance_number"] == 1


def test_the_window_is_of_percentiles_of_each_slice(folder):
    image = run(folder)[0].images.set_index("image_id").loc["src/TB-1/IM1"]
    values = np.sort(PIXELS[0].ravel())
    low, high = values[int(np.ceil(0.005 * values.size)) - 1], values[int(np.ceil(0.995 * values.size)) - 1]
    assert (image["window_center_hu"], image["window_width_hu"]) == ((low + high) / 2, high - low)
    fixed, _ = run(folder, grey_scale="window", window_center_hu=400, window_width_hu=800)
    assert set(fixed.images["window_width_hu"]) == {800}


def test_a_volume_that_the_key_does_not_list_is_unknown_unless_the_layout_says_negative(folder):
    write_volume(folder, "TB-3", shift=90, series="1.7")
    assert truth(run(folder)[0], "TB-3/IM1") == {"tear": None}
    layout = {**LAYOUT, "unlisted": "negative"}
    assert truth(curated(folder, "mdai", layout, **OPTIONS)[0], "TB-3/IM1") == {"tear": False}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f'TB-1,nobody,MedPosHorn,"{BOX}"', "unknown_uid"),
        ("TB-1,anon.TB-1.1,MedPosHorn,__import__('os').system('touch pwned')", "box_unreadable"),
        ("TB-1,anon.TB-1.1,MedPosHorn,\"{'x': (lambda: 1)(), 'y': 1, 'width': 2, 'height': 2}\"", "box_unreadable"),
        ("TB-1,anon.TB-1.1,MedPosHorn,", "row_without_box"),
        (f'TB-1,,MedPosHorn,"{BOX}"', "row_incomplete"),
        (f'TB-1,anon.TB-1.1,,"{BOX}"', "row_incomplete"),
        (f'TB-1,anon.TB-1.4,MedPosHorn,"{BOX}"', "duplicate_box"),
        ("TB-1,anon.TB-1.1,MedPosHorn,\"{'x': 30, 'y': 1, 'width': 9, 'height': 2}\"", "box_outside_image"),
    ],
)
def test_a_row_that_tells_of_no_box_is_refused_and_counted(folder, row, reason, monkeypatch):
    monkeypatch.chdir(folder)
    write_boxes(folder, f'TB-1,anon.TB-1.4,MedPosHorn,"{BOX}"', row)
    tables, _ = run(folder)
    refused = tables.rejects[tables.rejects["action"] == "refused"]
    assert refused["reason"].tolist() == [reason]
    assert refused["row"].tolist() == [1]
    assert len(tables.boxes) == 1
    assert not (folder / "pwned").exists()
    assert truth(tables, "TB-1/IM4")["tear"] is (False if reason == "duplicate_box" else None)  # instance 1
    on_any_slice = row.startswith(("TB-1,nobody", "TB-1,,"))
    assert truth(tables, "TB-1/IM3")["tear"] is (None if on_any_slice else False)
    assert truth(tables, "TB-1/IM1")["tear"] is True
    assert truth(tables, "TB-2/IM3")["tear"] is False


def test_a_folder_without_dicom_is_refused_file_by_file(folder):
    write(folder / "TB-9/notes.txt", "moved")
    _, flow = run(folder)
    assert flow["refused_by_reason"] == {"volume_without_dicom": 1}


def test_two_series_in_one_folder_are_refused_with_their_boxes(folder):
    write(folder / "TB-1/IM9.dcm", slice_of(5, 9, series="1.99"))
    tables, flow = run(folder)
    assert flow["refused_by_reason"] == {"two_series_in_folder": 5}
    assert flow["refused_rows_by_reason"] == {"row_without_image": 1}
    assert set(tables.images["volume_id"]) == {"src:TB-2"}


def test_files_that_share_an_instance_number_are_refused_both(folder):
    write(folder / "TB-1/IM9.dcm", slice_of(5, 4))
    tables, flow = run(folder)
    assert flow["refused_by_reason"] == {"instance_number_twice": 2}
    assert tables.boxes.empty
    assert flow["refused_rows_by_reason"] == {"row_without_image": 1}


def test_an_instance_number_twice_in_the_key_makes_the_slice_unknown(folder):
    key = (folder / "key.csv").read_text() + "TB-1,anon.other,4\n"
    write(folder / "key.csv", key)
    tables, flow = run(folder)
    assert flow["refused_rows_by_reason"] == {"instance_number_twice": 2, "unknown_uid": 1}
    assert of_volume(tables, "TB-1") == [None] * 4  # the box may be of the slice that is not the fourth
    write_boxes(folder)
    assert of_volume(run(folder)[0], "TB-1") == [None, False, False, False]


def cut(folder, path):
    write(folder / path, (folder / path).read_bytes()[:-40])


def second_of_its_number(folder, path):
    write(folder / "TB-1/IM9.dcm", slice_of(5, 4))


def gone(folder, path):
    (folder / path).unlink()


@pytest.mark.parametrize("lose", [cut, second_of_its_number, gone])
@pytest.mark.parametrize("row", [f'TB-1,anon.TB-1.4,MedPosHorn,"{BOX}"', "TB-1,anon.TB-1.4,MedPosHorn,"])
def test_a_torn_volume_whose_torn_slice_is_lost_is_unknown_and_never_normal(folder, lose, row):
    write_boxes(folder, row)
    lose(folder, "TB-1/IM1.dcm")
    tables, _ = run(folder)
    assert of_volume(tables, "TB-1") == [None] * 3
    assert (kind_of(tables, "TB-1"), kind_of(tables, "TB-2")) == ("unknown", "without")
    (note,) = tables.rejects[tables.rejects["reason"] == "lesion_lost"].to_dict("records")
    assert (note["path"], note["action"]) == ("TB-1/IM2.dcm", "noted")
    assert "unknown on 3 slices" in note["detail"]


@pytest.mark.parametrize("lose", [cut, second_of_its_number, gone])
def test_a_volume_with_another_torn_slice_stays_torn_and_its_others_hold(folder, lose):
    write_boxes(folder, *(f'TB-1,anon.TB-1.{number},MedPosHorn,"{BOX}"' for number in (4, 2)))
    lose(folder, "TB-1/IM1.dcm")
    tables, _ = run(folder)
    assert of_volume(tables, "TB-1") == [False, True, False]
    assert kind_of(tables, "TB-1") == "with"


def test_a_slice_without_a_box_that_is_lost_says_nothing_of_the_others(folder):
    cut(folder, "TB-2/IM1.dcm")
    assert kind_of(run(folder)[0], "TB-2") == "without"


def test_a_box_of_an_unknown_uid_makes_its_volume_unknown_where_a_table_names_it(folder):
    row = f'TB-2,nobody,MedPosHorn,"{BOX}"'
    write_boxes(folder, row)
    assert kind_of(run(folder)[0], "TB-2") == "unknown"
    write(folder / "boxes.csv", f'SOPInstanceUID_anon,labelName,data\nnobody,MedPosHorn,"{BOX}"\n')
    assert kind_of(run(folder)[0], "TB-2") == "without"  # nothing says whose it is
    write(folder / "key.csv", (folder / "key.csv").read_text() + "TB-2,nobody,\nTB-1,nobody,1\n")
    tables = run(folder)[0]
    assert (kind_of(tables, "TB-1"), kind_of(tables, "TB-2")) == ("unknown", "unknown")


def test_a_lost_box_of_an_ignored_class_says_nothing(folder):
    write_boxes(folder, f'TB-2,nobody,Cyst,"{BOX}"', f'TB-2,anon.TB-2.4,Cyst,"{BOX}"')
    cut(folder, "TB-2/IM1.dcm")
    assert kind_of(run(folder, ignored_classes=["Cyst"])[0], "TB-2") == "without"


def test_an_undecodable_slice_is_refused_with_its_box(folder):
    path = folder / "TB-1/IM1.dcm"
    write(path, path.read_bytes()[:-40])
    _, flow = run(folder)
    assert flow["refused_by_reason"] == {"image_unreadable": 1}
    assert flow["refused_rows_by_reason"] == {"image_refused": 1}


@pytest.mark.parametrize(("table", "column"), [("boxes.csv", "labelName"), ("key.csv", "InstanceNumber")])
def test_a_missing_column_is_told_by_file_and_name(folder, table, column):
    text = (folder / table).read_text().replace(column, "other")
    write(folder / table, text)
    with pytest.raises(InputError, match=rf"{table}.*expected a column {column}"):
        run(folder)


def test_a_missing_table_or_folder_is_told(folder):
    with pytest.raises(InputError, match=r"none\.csv: found no such file"):
        curated(folder, "mdai", {**LAYOUT, "key": "none.csv"}, **OPTIONS)
    with pytest.raises(InputError, match=r"layout\.volume: found no folder of a volume"):
        curated(folder, "mdai", {**LAYOUT, "volume": "knee"}, **OPTIONS)


def test_normal_volumes_are_negative_and_several_frames_are_slices(tmp_path):
    write_volume(tmp_path, "n-1")
    whole = dicom(PIXELS[0], NumberOfFrames=6, PixelData=PIXELS.astype("<i2").tobytes(), SeriesInstanceUID="1.8")
    write(tmp_path / "n-2/all.dcm", whole)
    tables, flow = curated(tmp_path, "dicom_series", {}, **OPTIONS)
    assert flow["labels"]["tear"] == {"positive": 0, "negative": 10, "unknown": 0}
    assert (flow["images"], flow["images_in_volumes"]) == (5, 6)
    frames = tables.images[tables.images["volume_id"] == "src:n-2"]
    assert frames["slice_index"].tolist() == frames["frame_index"].tolist() == [0, 1, 2, 3, 4, 5]
    assert frames["image_id"].tolist()[0] == "src/n-2/all/000"
    assert frames["phash"].nunique() == 6


IDENTIFYING = {
    "PatientName": "ZZNAME^Jane",
    "PatientID": "ZZID123456",
    "PatientBirthDate": "19510203",
    "OtherPatientIDs": "ZZOTHER",
    "PatientAddress": "ZZSTREET 1",
    "PatientTelephoneNumbers": "ZZPHONE",
    "PatientComments": "ZZCOMMENT",
    "PatientMotherBirthName": "ZZMOTHER",
    "ReferringPhysicianName": "ZZDOCTOR",
    "PerformingPhysicianName": "ZZPERFORM",
    "OperatorsName": "ZZOPERATOR",
    "InstitutionName": "ZZHOSPITAL",
    "InstitutionAddress": "ZZTOWN",
    "StationName": "ZZSTATION",
    "DeviceSerialNumber": "ZZSERIAL",
    "AccessionNumber": "ZZACCESSION",
    "StudyID": "ZZSTUDY",
    "StudyDescription": "ZZDESCRIBED",
    "SeriesDescription": "ZZSERIESD",
    "ProtocolName": "ZZPROTOCOL",
    "StudyDate": "20110405",
    "SeriesDate": "20110406",
    "AcquisitionDate": "20110407",
    "ContentDate": "20110408",
    "StudyTime": "112233",
    "ImageComments": "ZZIMAGEC",
    "StudyInstanceUID": "1.2.840.77777.1",
    "FrameOfReferenceUID": "1.2.840.77777.2",
}


def test_no_identifier_of_the_header_reaches_a_table(tmp_path):
    series = "1.2.840.77777.3"
    for place in range(4):
        content = slice_of(place, place + 1, series, **IDENTIFYING, BodyPartExamined="zzpart Jane")
        write(tmp_path / f"n-1/IM{place}.dcm", content)
    write(tmp_path / "n-1/IM4.dcm", slice_of(4, 5, series, **IDENTIFYING)[:-30])
    tables, _ = curated(tmp_path, "dicom_series", {}, **OPTIONS)
    written = b""
    for table in (tables.images, tables.boxes, tables.labels, tables.rejects, tables.headers):
        stream = io.BytesIO()
        table.to_csv(stream)
        written += stream.getvalue()
    identifying = [*IDENTIFYING.values(), "77777", "Jane", "zzpart"]
    assert [text for text in identifying if text.encode() in written] == []
    assert digest_of_identifier("ZZID123456").encode() in written


def test_a_slice_that_a_listed_volume_has_beside_the_key_is_unknown(folder):
    write(folder / "TB-2/IM1.dcm", slice_of(0, None, "1.6", 50))
    write(folder / "TB-2/IM9.dcm", slice_of(5, 9, "1.6", 50))
    tables, flow = run(folder)
    assert truth(tables, "TB-2/IM1") == truth(tables, "TB-2/IM9") == {"tear": None}
    assert truth(tables, "TB-2/IM2") == {"tear": False}
    assert kind_of(tables, "TB-2") == "unknown"
    assert flow["noted_by_reason"]["not_in_key"] == 2
    assert flow["refused_rows_by_reason"] == {"listed_without_file": 1}  # instance 4 was IM1's


def test_rows_of_the_key_without_a_file_are_counted(folder):
    write(folder / "key.csv", (folder / "key.csv").read_text() + key_of("TB-8", 3))
    tables, flow = run(folder)
    assert flow["refused_rows_by_reason"] == {"listed_without_file": 3}
    assert tables.rejects.query("reason == 'listed_without_file'")["row"].tolist() == [8, 9, 10]


@pytest.mark.parametrize("text", [key_of("volume-1"), ""])
def test_a_key_that_names_no_folder_is_one_line(folder, text):
    write(folder / "key.csv", "tbrecon_id,SOPInstanceUID_anon,InstanceNumber\n" + text)
    with pytest.raises(InputError, match=r"column tbrecon_id: found .* none of the 2 folders; expected .*'TB-1'"):
        run(folder)


def test_tables_in_a_folder_of_their_own_are_no_volume(folder):
    for name in ("boxes.csv", "key.csv"):
        write(folder / "tables" / name, (folder / name).read_text())
        (folder / name).unlink()
    layout = {"annotations": ["tables/boxes.csv"], "key": "tables/key.csv"}
    _, flow = curated(folder, "mdai", layout, **OPTIONS)
    assert (flow["images"], flow["boxes"], flow["other"], flow["refused"]) == (8, 1, 2, 0)


def write_knees(folder, **patients):
    for place, (name, patient) in enumerate(patients.items()):
        for number in (1, 2):
            content = slice_of(number, number, f"1.{place}", shift=20 * place, PatientID=patient)
            write(folder / name.replace("_", "-") / f"IM{number}.dcm", content)


def knees(folder, **changes):
    tables, _ = curated(folder, "dicom_series", {"volume": "(?P<patient>n-.+)"}, **OPTIONS, **changes)
    notes = tables.rejects[tables.rejects["reason"] == "patient_id_shared"]
    return tables.images.drop_duplicates("volume_id").set_index("volume_id")["patient_id"], notes


def test_folders_whose_headers_name_one_patient_are_noted(tmp_path):
    write_knees(tmp_path, n_1="ZZ7", n_2="ZZ8", n_3="ZZ7", n_4=None)
    patients, notes = knees(tmp_path)
    assert patients.tolist() == ["src:n-1", "src:n-2", "src:n-3", "src:n-4"]
    (note,) = notes.to_dict("records")
    assert (note["path"], note["action"]) == ("n-1/IM1.dcm", "noted")
    assert "in 2 folders: n-1, n-3" in note["detail"]
    assert digest_of_identifier("ZZ7") in note["detail"]
    assert "ZZ7" not in note["detail"]


def test_folders_of_one_patient_are_tied_where_the_source_says_so(tmp_path):
    write_knees(tmp_path, n_1="ZZ7", n_2="ZZ8", n_3="ZZ7", n_4=None)
    patients, notes = knees(tmp_path, same_patient_id="tie")
    first, second = (f"src:{digest_of_identifier(patient)}" for patient in ("ZZ7", "ZZ8"))
    assert patients.tolist() == [first, second, first, "src:n-4"]
    assert len(notes) == 1
    write(tmp_path / "n-2/IM3.dcm", slice_of(3, 3, "1.1", shift=20, PatientID="ZZ7"))  # n-2 has files of both
    patients, notes = knees(tmp_path, same_patient_id="tie")
    assert patients.tolist() == [min(first, second)] * 3 + ["src:n-4"]
