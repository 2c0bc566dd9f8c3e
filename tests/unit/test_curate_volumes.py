"""Files that hold whole volumes, and YOLO trees: slices, masks, labels and boxes, and what is refused."""

import gzip
import io

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from curate_folders import image_bytes, textured_pixels
from source_folders import curated, dicom, reasons, truth, write

from scanline.core.errors import InputError
from scanline.core.images import ImageError, Window, windowed
from scanline.core.slices import read_mask, read_slices
from scanline.core.volumes import decode_volume
from scanline.prepare.masks import load_mask
from scanline.prepare.pixels import cache_pixels, resize

VOLUME = np.random.default_rng(1).integers(100, 3000, (5, 24, 32)).astype(np.int16)  # slices, rows, columns
UPRIGHT = np.eye(4)
MR = {"grey_scale": "percentiles", "classes": {}, "labels": ("tear",)}


def nifti(values: np.ndarray, *, packed=True, affine: np.ndarray | None = UPRIGHT) -> bytes:
    """A NIfTI file of slices, rows, columns."""
    content = nibabel.Nifti1Image(values.transpose(2, 1, 0), affine).to_bytes()
    return gzip.compress(content) if packed else content


def hdf5(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return stream.getvalue()


def numpy_file(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.nii.gz", nifti(VOLUME)),
        ("v.nii", nifti(VOLUME, packed=False)),
        ("v.h5", hdf5(reconstruction_rss=VOLUME, reconstruction_esc=VOLUME * 0, kspace=VOLUME.astype(np.complex64))),
        ("v.hdf5", hdf5(anything=VOLUME)),
        ("v.npy", numpy_file(VOLUME)),
    ],
)
def test_every_format_gives_the_same_slices(name, content, tmp_path):
    assert np.array_equal(decode_volume(name, content), VOLUME)
    path = write(tmp_path / name, content)
    window = Window(1000, 1500)
    for frame, grey in zip((3, 0), read_slices(path, [(3, window), (0, window)]), strict=True):
        assert np.array_equal(grey, windowed(VOLUME[frame].astype(float), window))


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("v.nii.gz", nifti(VOLUME)[:200], "damaged volume"),
        ("v.nii.gz", b"no gzip", "damaged volume"),
        ("v.nii", b"\0" * 400, "NIfTI|damaged"),
        ("v.h5", b"no hdf5", "damaged volume"),
        ("v.h5", hdf5(a=VOLUME, b=VOLUME), "2 real data sets"),
        ("v.h5", hdf5(kspace=VOLUME.astype(np.complex64)), "0 real data sets"),
        ("v.npy", numpy_file(VOLUME)[:-9], "damaged volume"),
        ("v.npy", numpy_file(VOLUME[0]), "expected a volume"),
        ("v.npy", numpy_file(np.array([[["a"]]])), "expected a volume"),
        ("v.npy", numpy_file(np.array([[[{}]]], dtype=object)), "damaged volume"),  # never unpickled
    ],
)
def test_what_is_no_volume_is_one_line(name, content, found):
    with pytest.raises(ImageError, match=found):
        decode_volume(name, content)


NIFTI = {"images": r"(?P<volume>\w+)_img\.nii(\.gz)?", "masks": r"(?P<volume>\w+)_seg\.nii\.gz"}


def mask_of(*slices: int) -> np.ndarray:
    mask = np.zeros(VOLUME.shape, np.float64)
    for number in slices:
        mask[number, 2:9, 3:8] = 1
    return mask


def test_nifti_masks_label_each_slice(tmp_path):
    write(tmp_path / "a_img.nii.gz", nifti(VOLUME))
    write(tmp_path / "a_seg.nii.gz", nifti(mask_of(1, 2)))
    write(tmp_path / "b_img.nii", nifti(VOLUME + 7, packed=False))
    tables, flow = curated(tmp_path, "nifti", NIFTI, **MR, mask_class="tear", annotated_classes=())
    assert [truth(tables, f"a_img/{number:03d}")["tear"] for number in range(5)] == [False, True, True, False, False]
    assert truth(tables, "b_img/001") == {"tear": None}
    assert (flow["files"], flow["images"], flow["images_in_volumes"], flow["masks"]) == (3, 2, 10, 1)
    images = tables.images.set_index("image_id")
    assert images.loc["src/a_img/003", ["slice_index", "frame_index", "volume_id"]].tolist() == [3, 3, "src:a"]
    assert images["window_center_hu"].nunique() == 2  # of the whole volume
    mask = load_mask(tmp_path / "a_seg.nii.gz", 32, 24, 32, frame=1)
    assert mask.any()
    assert not load_mask(tmp_path / "a_seg.nii.gz", 32, 24, 32, frame=0).any()


def test_the_cache_holds_the_slices_of_a_volume(tmp_path):
    write(tmp_path / "a_img.nii.gz", nifti(VOLUME))
    tables, _ = curated(tmp_path, "nifti", NIFTI, **MR, annotated_classes=())
    shuffled = tables.images.sample(frac=1, random_state=3, ignore_index=True)
    cache_pixels(shuffled, 16, tmp_path / "pixels.npy", 2)
    window = Window(*shuffled.loc[0, ["window_center_hu", "window_width_hu"]])
    for pixels, frame in zip(np.load(tmp_path / "pixels.npy"), shuffled["frame_index"], strict=True):
        assert np.array_equal(pixels, resize(windowed(VOLUME[frame].astype(float), window), 16))


def test_masks_that_do_not_fit_are_refused_and_the_volume_is_unknown(tmp_path):
    write(tmp_path / "a_img.nii.gz", nifti(VOLUME))
    write(tmp_path / "a_seg.nii.gz", nifti(mask_of(1)[:4]))
    write(tmp_path / "b_img.nii.gz", nifti(VOLUME + 1))
    write(tmp_path / "b_seg.nii.gz", nifti(mask_of(1)[:, :20]))
    write(tmp_path / "c_seg.nii.gz", nifti(mask_of(1)))
    write(tmp_path / "d_img.nii.gz", b"broken")
    _, flow = curated(tmp_path, "nifti", NIFTI, **MR, mask_class="tear", annotated_classes=())
    assert flow["refused_by_reason"] == {"image_unreadable": 1, "mask_unusable": 2, "mask_without_image": 1}
    assert flow["refused_rows_by_reason"] == {"mask_size_differs": 5}
    assert flow["labels"]["tear"] == {"positive": 0, "negative": 0, "unknown": 10}


@pytest.mark.parametrize(
    ("of_image", "of_mask", "is_kept"),
    [
        (UPRIGHT, np.diag([1, 1, 1.00001, 1]), True),  # rounding
        (UPRIGHT, np.diag([-1.0, -1, 1, 1]), False),  # stored mirrored along both axes
        (UPRIGHT, np.diag([1.0, 1, 2, 1]), False),
        (UPRIGHT, UPRIGHT[[1, 0, 2, 3]], False),
        (UPRIGHT, np.array([[1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), False),
        (UPRIGHT, None, False),
        (None, UPRIGHT, False),
        (None, None, True),
    ],
)
def test_a_mask_on_another_grid_is_refused_once_and_the_volume_is_unknown(tmp_path, of_image, of_mask, is_kept):
    write(tmp_path / "a_img.nii.gz", nifti(VOLUME, affine=of_image))
    write(tmp_path / "a_seg.nii.gz", nifti(mask_of(1), affine=of_mask))
    tables, flow = curated(tmp_path, "nifti", NIFTI, **MR, mask_class="tear", annotated_classes=())
    assert flow["refused_by_reason"] == ({} if is_kept else {"mask_grid_differs": 1})
    known = {"positive": 1, "negative": 4, "unknown": 0}
    assert flow["labels"]["tear"] == (known if is_kept else {"positive": 0, "negative": 0, "unknown": 5})
    assert tables.images["mask_path"].notna().all() == is_kept


@pytest.mark.parametrize("value", [0.99999, 0.001, 300.0, 1e-9])
def test_a_mask_is_what_is_above_0_in_curation_and_in_the_cache(tmp_path, value):
    mask = np.where(mask_of(1) > 0, value, np.where(mask_of(2) > 0, np.nan, np.where(mask_of(3) > 0, -2.0, 0)))
    write(tmp_path / "a_img.nii.gz", nifti(VOLUME))
    path = write(tmp_path / "a_seg.nii.gz", nifti(mask))
    tables, _ = curated(tmp_path, "nifti", NIFTI, **MR, mask_class="tear", annotated_classes=())
    told = [truth(tables, f"a_img/{number:03d}")["tear"] for number in range(5)]
    assert told == [False, True, False, False, False]
    for number in range(5):
        assert np.array_equal(load_mask(path, 32, 24, 32, number).any(), told[number])
    assert np.array_equal(read_mask(path, 1), mask_of(1)[1] > 0)


def test_two_files_of_a_volume_are_told(tmp_path):
    for suffix in ("nii", "nii.gz"):
        write(tmp_path / f"a_img.{suffix}", nifti(VOLUME, packed=suffix != "nii"))
    with pytest.raises(InputError, match="two files of one volume"):
        curated(tmp_path, "nifti", NIFTI, **MR, annotated_classes=())


def write_mrnet(folder):
    stack = (VOLUME // 12).astype(np.uint8)
    for number, place in enumerate(("train/sagittal/0000", "train/sagittal/0001", "valid/sagittal/1130")):
        write(folder / f"{place}.npy", numpy_file(stack + number))
    write(folder / "train/axial/0000.npy", numpy_file(stack))
    write(folder / "train-meniscus.csv", "0000,1\n0001,0\nx,2\n")
    write(folder / "valid-meniscus.csv", "1130,0\n")
    return stack


def test_mrnet_exams_without_a_finding_are_negative_on_each_slice(tmp_path):
    stack = write_mrnet(tmp_path)
    tables, flow = curated(tmp_path, "mrnet", {"findings": ["meniscus"]}, **{**MR, "classes": {"meniscus": "tear"}})
    assert flow["labels"]["tear"] == {"positive": 0, "negative": 10, "unknown": 5}
    assert flow["refused_rows_by_reason"] == {"row_unreadable": 1}
    images = tables.images.set_index("image_id")
    row = images.loc["src/train/sagittal/0000/002"]
    assert (row["patient_id"], row["exam_findings"], row["official_subset"]) == ("src:0000", "meniscus", "train")
    assert images.loc["src/valid/sagittal/1130/000", "official_subset"] == "val"
    assert "window_width_hu" not in images  # bytes are grey as they stand
    assert np.array_equal(next(read_slices(tmp_path / "train/sagittal/0000.npy", [(2, None)])), stack[2])
    assert flow["other"] == 3  # the axial stack, two tables


def test_a_missing_mrnet_table_is_told(tmp_path):
    write_mrnet(tmp_path)
    with pytest.raises(InputError, match=r"train-acl\.csv"):
        curated(tmp_path, "mrnet", {"findings": ["acl"]}, **MR)


def write_yolo(folder):
    write(folder / "data.yaml", "names: [MedPosHorn, LatAntHorn]\nnc: 2\n")
    for number in range(3):
        place = {"ImagePositionPatient": [0, 0, -number], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        content = dicom(VOLUME[number], InstanceNumber=number + 1, SeriesInstanceUID="1.4", **place)
        write(folder / f"images/train/IM{number + 1}-01-02-00011.dcm", content)
    write(folder / "images/val/IM1-01-02-00012.png", image_bytes(textured_pixels(3), "PNG"))
    write(folder / "labels/train/IM1-01-02-00011.txt", "1 0.5 0.25 0.25 0.5\n")
    write(folder / "labels/train/IM2-01-02-00011.txt", "")


def yolo(folder, **layout):
    options = {**MR, "classes": {"MedPosHorn": "tear", "LatAntHorn": "tear"}}
    return curated(folder, "yolo", {"name": r"IM\d+-(?P<patient>[\d-]+)", **layout}, **options)


def test_a_yolo_tree_with_dicom_is_read_in_pixels(tmp_path):
    write_yolo(tmp_path)
    tables, flow = yolo(tmp_path)
    assert tables.boxes.to_numpy().tolist() == [["src/images/train/IM1-01-02-00011", "tear", 12, 0, 8, 12]]
    assert flow["labels"]["tear"] == {"positive": 1, "negative": 1, "unknown": 2}
    images = tables.images.set_index("image_id")
    assert set(images["patient_id"]) == {"src:01-02-00011", "src:01-02-00012"}
    assert [images.loc[f"src/images/train/IM{k}-01-02-00011", "slice_index"] for k in (1, 2, 3)] == [2, 1, 0]
    assert yolo(tmp_path, unlabelled="negative")[1]["labels"]["tear"]["negative"] == 3


def test_lines_that_are_no_box_leave_the_slice_unknown(tmp_path):
    write_yolo(tmp_path)
    write(tmp_path / "labels/train/IM2-01-02-00011.txt", "0 0.5 0.5\n7 0.5 0.5 0.1 0.1\n0 nan 0.5 0.1 0.1\n\n")
    write(tmp_path / "labels/train/IM8-01-02-00011.txt", "0 0.5 0.5 0.1 0.1\n")
    tables, flow = yolo(tmp_path)
    assert reasons(tables)["row_unreadable"] == 2
    assert reasons(tables)["box_of_unknown_category"] == 1
    assert flow["refused_by_reason"] == {"annotation_without_image": 1}
    assert truth(tables, "images/train/IM2-01-02-00011") == {"tear": None}


@pytest.mark.parametrize("text", ["nc: 2\n", "names: 3\n", "names: [a\n"])
def test_a_description_without_names_is_told(tmp_path, text):
    write_yolo(tmp_path)
    write(tmp_path / "data.yaml", text)
    with pytest.raises(InputError, match=r"data\.yaml.*expected a YAML file with `names`"):
        yolo(tmp_path)


FASTMRI = {"table": "knee.csv", "file_list": "list.csv", "image_size_px": [32, 24], "volumes": "multicoil"}


def test_fastmri_volumes_give_slices_and_boxes_are_turned_to_their_rows(tmp_path):
    for name, shift in (("file1", 0), ("file2", 9), ("file9", 17)):
        write(tmp_path / f"multicoil/{name}.h5", hdf5(reconstruction_rss=(VOLUME + shift).astype(np.float32)))
    write(tmp_path / "list.csv", "file1\nfile2\nfile3\n")
    heading = "file,slice,study_level,x,y,width,height,label\n"
    rows = "file1,2,No,3,1,10,6,Tear\nfile3,0,No,3,1,10,6,Tear\nfile1,9,No,3,1,10,6,Tear\n"
    write(tmp_path / "knee.csv", heading + rows)
    tables, flow = curated(tmp_path, "fastmri_plus", FASTMRI, **{**MR, "classes": {"Tear": "tear"}})
    (box,) = tables.boxes.to_dict("records")
    assert box["image_id"] == "src/multicoil/file1/002"
    assert [box[side] for side in ("x", "y", "width", "height")] == [3, 24 - 1 - 6, 10, 6]
    assert flow["labels"]["tear"] == {"positive": 1, "negative": 9, "unknown": 0}
    assert flow["refused_by_reason"] == {"volume_not_listed": 1}
    assert flow["refused_rows_by_reason"] == {"row_without_image": 2, "listed_without_file": 1}
    grey = next(read_slices(tmp_path / "multicoil/file1.h5", [(2, Window(1500, 3000))]))
    assert np.array_equal(grey, windowed(VOLUME[2].astype(float), Window(1500, 3000)))


def test_copies_of_a_volume_are_refused_as_files_and_its_own_slices_are_no_copies(tmp_path):
    for name, shift in (("a", 0), ("b", 0), ("c", 40)):
        write(tmp_path / f"{name}_img.nii", nifti(VOLUME + shift, packed=False))
        write(tmp_path / f"{name}_seg.nii.gz", nifti(mask_of(2)))
    tables, flow = curated(tmp_path, "nifti", NIFTI, **MR, duplicate_files="refuse")
    assert tables.images.groupby("volume_id").size().to_dict() == {"src:a": 5, "src:c": 5}
    assert flow["refused_by_reason"] == {"duplicate_file": 1, "image_refused": 1}  # b, and its mask
    assert flow["refused_rows"] == 0


def test_images_that_only_tables_tell_of_are_no_copies(tmp_path):
    write(tmp_path / "list.csv", "file1\nfile2\n")
    write(tmp_path / "knee.csv", "file,slice,study_level,x,y,width,height,label\nfile1,2,No,3,1,10,6,Tear\n")
    layout = {**FASTMRI, "volumes": None}
    tables, _ = curated(
        tmp_path, "fastmri_plus", layout, **{**MR, "classes": {"Tear": "tear"}}, duplicate_files="refuse"
    )
    assert len(tables.images) == 2


@pytest.mark.parametrize(
    ("row", "unknown"),
    [
        ("file2,x,No,3,1,10,6,Tear", 5),
        ("file2,0,Yes,,,,,Tear", 5),
        ("file2,9,No,3,1,10,6,Tear", 5),
        ("file2,1,No,3,1,10,6,", 5),
        ("file2,1,No,3", 5),
        ("file2,0,Yes,,,,,artifact", 0),
        ("file1,0,Yes,,,,,Tear", 4),
        ("file1,9,No,3,1,10,6,Tear", 0),
        ("file1,2,No,3,1,10,6,Tear", 0),
    ],
)
@pytest.mark.parametrize("with_pixels", [True, False])
def test_a_refused_row_of_fastmri_leaves_no_negative_volume(tmp_path, row, unknown, with_pixels):
    for name, shift in (("file1", 0), ("file2", 9)):
        write(tmp_path / f"multicoil/{name}.h5", hdf5(reconstruction_rss=(VOLUME + shift).astype(np.float32)))
    write(tmp_path / "list.csv", "file1\nfile2\n")
    rows = f"file1,2,No,3,1,10,6,Tear\n{row}\n"
    write(tmp_path / "knee.csv", "file,slice,study_level,x,y,width,height,label\n" + rows)
    layout = FASTMRI if with_pixels else {**FASTMRI, "volumes": None}
    tables, flow = curated(tmp_path, "fastmri_plus", layout, **{**MR, "classes": {"Tear": "tear"}})
    if with_pixels:
        assert flow["refused_rows"] == 1
        assert flow["labels"]["tear"] == {"positive": 1, "negative": 9 - unknown, "unknown": unknown}
        return
    named = tables.labels.set_index("image_id")["tear"]
    assert named["src/file1/002"]
    if "src/file2/whole" in named:  # tables alone: there is a slice 9
        assert pd.isna(named["src/file2/whole"]) == (unknown == 5)


def test_rows_of_mrnet_without_a_stack_and_stacks_without_a_row_are_told(tmp_path):
    write_mrnet(tmp_path)
    write(tmp_path / "train-meniscus.csv", "0000,1\n0007,0\n")
    options = {**MR, "classes": {"meniscus": "tear"}}
    tables, flow = curated(tmp_path, "mrnet", {"findings": ["meniscus"]}, **options)
    assert flow["refused_rows_by_reason"] == {"listed_without_file": 1}
    assert flow["noted_by_reason"]["image_not_in_table"] == 1
    assert truth(tables, "train/sagittal/0001/000") == {"tear": None}
    layout = {"findings": ["meniscus"], "planes": ["sagittal", "axial"]}
    write(tmp_path / "train-meniscus.csv", "0000,0\n0001,0\n0001,1\n0001,0\n")
    tables, flow = curated(tmp_path, "mrnet", layout, **options)
    assert flow["noted_by_reason"]["listed_without_file"] == 2  # 0001 and 1130 have no axial stack
    assert flow["refused_rows_by_reason"] == {"rows_contradict": 2}
    assert truth(tables, "train/sagittal/0001/000") == {"tear": None}


@pytest.mark.parametrize("rows", ["upside_down", "as_in_hdf5"])
def test_fastmri_dicom_of_either_orientation_has_the_lesion_under_the_box(tmp_path, rows):
    drawn = np.zeros((24, 32), np.int16)
    drawn[1:7, 3:13] = 900  # as the radiologist saw it, upside down against the HDF5 file
    stored = drawn if rows == "upside_down" else drawn[::-1]
    for number, values in ((0, drawn * 0 + 5), (2, stored)):
        content = dicom(values, SOPInstanceUID=f"1.2.{number}", InstanceNumber=number + 1, PatientID="file1")
        write(tmp_path / f"dicom/file1/file1_{number:03d}.dcm", content)
    write(tmp_path / "dicom/file9/file9_000.dcm", dicom(drawn, PatientID="file9"))
    write(tmp_path / "list.csv", "file1\nfile2\n")
    heading = "file,slice,study_level,x,y,width,height,label\n"
    write(tmp_path / "knee.csv", heading + "file1,2,No,3,1,10,6,Tear\nfile1,9,No,3,1,10,6,Tear\n")
    layout = {**FASTMRI, "volumes": None, "dicoms": "dicom", "dicom_rows": rows}
    tables, flow = curated(tmp_path, "fastmri_plus", layout, **{**MR, "classes": {"Tear": "tear"}})
    (box,) = tables.boxes.to_dict("records")
    assert box["image_id"] == "src/dicom/file1/file1_002"
    x, y, width, height = (int(box[side]) for side in ("x", "y", "width", "height"))
    grey = next(read_slices(tmp_path / "dicom/file1/file1_002.dcm", [(None, Window(450, 900))])) > 0
    assert grey[y : y + height, x : x + width].all()
    assert grey.sum() == width * height
    assert flow["labels"]["tear"] == {"positive": 1, "negative": 1, "unknown": 0}
    assert flow["refused_by_reason"] == {"volume_not_listed": 1}
    assert flow["refused_rows_by_reason"] == {"row_without_image": 1, "listed_without_file": 1}
    assert tables.images["slice_index"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("change", "found"),
    [({"dicoms": "dicom"}, "volumes or dicoms"), ({"volumes": None, "dicoms": "x"}, "no DICOM file of a slice")],
)
def test_a_wrong_layout_of_fastmri_dicom_is_told(tmp_path, change, found):
    write(tmp_path / "list.csv", "file1\n")
    write(tmp_path / "knee.csv", "file,slice,study_level,x,y,width,height,label\n")
    with pytest.raises(InputError, match=found):
        curated(tmp_path, "fastmri_plus", {**FASTMRI, **change}, **MR)
