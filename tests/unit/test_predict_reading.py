"""Files to predict are read as the model's study read its own."""

import numpy as np
import pytest
from PIL import ExifTags, Image
from source_folders import dicom

import scanline.predict.images as module
from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.curate.file_scan import scale_of
from scanline.curate.inspection import inspect_image
from scanline.curate.options import Reading
from scanline.predict.image_files import ImageFile, find_images, read_or_reason
from scanline.predict.image_models import Answer
from scanline.predict.images import predict_images
from scanline.predict.study_reading import read_study_reading
from scanline.prepare.pixels import load_file

WEB = Reading(repairs=("exif_orientation", "first_frame", "sixteen_bits"))
MR = Reading(grey_scale="percentiles", black_percentile=1, white_percentile=99)
PIXELS = np.add.outer(np.arange(24) * 6, np.arange(40) * 2).astype(np.uint8)
RAMP = np.add.outer(np.arange(12) * 9, np.arange(16) * 4).astype(np.int16)
VOLUME = (np.random.default_rng(2).normal(300, 90, (20, 12, 16))).astype(np.float32)


def turned(path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(PIXELS).save(path, exif=exif)
    return path


def study(tmp_path, **sources):
    """The model.pt of a results folder whose sources are read so."""
    write_json(
        tmp_path / "s/curated/reading.json", {name: one.model_dump(mode="json") for name, one in sources.items()}
    )
    return tmp_path / "s/models/grouped/classify/net/seed1/model.pt"


def test_pictures_are_repaired_as_the_study_repairs_them(tmp_path):
    path = turned(tmp_path / "a.png")
    reading = read_study_reading(None, study(tmp_path, web=WEB, more=WEB), None, [path])
    (grey,) = read_or_reason(path, reading)
    assert np.array_equal(grey, np.rot90(PIXELS, -1))
    (stored,) = read_or_reason(path, Reading())
    assert np.array_equal(stored, PIXELS)


def test_what_training_accepts_by_a_repair_is_read_and_else_a_reason(tmp_path):
    deep, moving = tmp_path / "a.png", tmp_path / "b.gif"
    Image.fromarray(PIXELS.astype(np.uint16) * 99).save(deep)
    Image.fromarray(PIXELS).save(moving, save_all=True, append_images=[Image.fromarray(255 - PIXELS)])
    assert [one.shape for path in (deep, moving) for one in read_or_reason(path, WEB)] == [PIXELS.shape] * 2
    assert "8 bits" in read_or_reason(deep, Reading())
    assert "several frames" in read_or_reason(moving, Reading())
    assert read_or_reason(tmp_path / "gone.png", WEB) == "no such file"


def test_every_slice_is_what_the_pixel_cache_holds(tmp_path):
    np.save(tmp_path / "knee.npy", VOLUME)
    low = RAMP // 2
    (tmp_path / "one.dcm").write_bytes(dicom(RAMP, PhotometricInterpretation="MONOCHROME1"))
    frames = np.stack([RAMP, low]).astype("<i2").tobytes()
    (tmp_path / "two.dcm").write_bytes(dicom(RAMP, NumberOfFrames=2, PixelData=frames))
    for name, count in {"knee.npy": 20, "one.dcm": 1, "two.dcm": 2}.items():
        found = inspect_image(tmp_path / name, scale_of(MR))
        frames = found.frames or (found,)
        wanted = [(number if found.frames else None, frame.window) for number, frame in enumerate(frames)]
        expected = load_file(tmp_path / name, 8, wanted)
        slices = read_or_reason(tmp_path / name, MR)
        assert len(slices) == len(frames) == count
        assert all(np.array_equal(module.resize(one, 8), cached) for one, cached in zip(slices, expected, strict=True))


class Mean:
    """A model that answers with an image's mean."""

    size_px = 8

    def __call__(self, resized, originals):
        assert len(resized) == len(originals) <= module.BATCH_SIZE
        return [Answer({"per_image": [{"mean": float(one.mean())}]}, (), {"shown": one}, {}) for one in originals]


def test_a_volume_gives_a_row_and_a_picture_a_slice(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/knee.npy", VOLUME)
    Image.fromarray(PIXELS).save(tmp_path / "in/slice.png")
    files = find_images([tmp_path / "in"])
    predictions = predict_images(files, Mean(), ("tear",), tmp_path / "out", MR)
    rows = {row["image"]: row for row in predictions.tables["per_image"]}
    assert list(rows) == [*[f"knee.npy/{number:03d}" for number in range(20)], "slice.png"]
    slices = read_or_reason(tmp_path / "in/knee.npy", MR)
    for number, grey in enumerate(slices):
        row = rows[f"knee.npy/{number:03d}"]
        assert row["mean"] == grey.mean()
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / row["shown"])), grey)
    assert rows["slice.png"]["shown"] == "shown/slice.png"


def test_sources_that_differ_are_told_apart_where_it_matters(tmp_path):
    picture, model = turned(tmp_path / "a.png"), study(tmp_path, ct=Reading(), mr=MR)
    np.save(tmp_path / "knee.npy", VOLUME)
    assert read_study_reading(None, model, None, [picture]).repairs == ()
    with pytest.raises(InputError, match="sources that are read in different ways: ct and mr"):
        read_study_reading(None, model, None, [picture, tmp_path / "knee.npy"])
    assert read_study_reading(None, model, "mr", [tmp_path / "knee.npy"]) == MR
    with pytest.raises(InputError, match="no source 'us'"):
        read_study_reading(None, model, "us", [picture])
    with pytest.raises(InputError, match="different ways: ct and web"):
        read_study_reading(None, study(tmp_path, ct=Reading(), web=WEB), None, [picture])


def test_without_a_reading_pictures_stay_and_volumes_are_refused(tmp_path, caplog):
    picture, model = turned(tmp_path / "a.png"), tmp_path / "model.pt"
    assert read_study_reading(None, model, None, [picture]) == Reading()
    assert "whatever training repaired" in caplog.text
    np.save(tmp_path / "knee.npy", VOLUME)
    with pytest.raises(InputError, match=r"knee.npy: found a DICOM image or a volume.*--reading"):
        read_study_reading(None, model, None, [tmp_path / "knee.npy"])
    write_json(tmp_path / "other.json", [1])
    with pytest.raises(InputError, match="something else"):
        read_study_reading(tmp_path / "other.json", model, None, [picture])
    given = study(tmp_path, web=WEB).parents[5] / "curated/reading.json"
    assert read_study_reading(given, model, None, [picture]) == WEB


def test_a_file_that_cannot_be_read_is_a_reject_beside_slices(tmp_path):
    np.save(tmp_path / "flat.npy", PIXELS)
    Image.fromarray(PIXELS).save(tmp_path / "ok.png")
    files = [ImageFile(name, f"{name}.png", tmp_path / name) for name in ("flat.npy", "ok.png")]
    predictions = predict_images(files, Mean(), ("tear",), tmp_path / "out", MR)
    assert predictions.images == 1
    assert predictions.rejects[0]["image"] == "flat.npy"
    assert "shape (24, 40)" in predictions.rejects[0]["reason"]
