"""The command that takes images of any place and a model of any kind."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import predict_images as script
from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.core.images import read_image
from scanline.core.tables import write_table
from scanline.evaluate.class_temperature import ClassPoint
from scanline.evaluate.classifier import EvaluateClassifierOptions
from scanline.evaluate.classifier import fit_on_val as fit_classifier
from scanline.evaluate.detector import DetectorTables, called_detections
from scanline.evaluate.detector import fit_on_val as fit_detector
from scanline.evaluate.detector_options import EvaluateDetectorOptions
from scanline.evaluate.detector_point import DetectorPoint
from scanline.evaluate.multilabel_classifier import fit_labels_on_val, points_as_json
from scanline.evaluate.multilabel_options import EvaluateMultilabelOptions
from scanline.evaluate.operating_point import OperatingPoint
from scanline.evaluate.segmenter import LEVELS, MaskThreshold, MaskTruths
from scanline.evaluate.segmenter import fit_on_val as fit_segmenter
from scanline.evaluate.segmenter_options import EvaluateSegmenterOptions
from scanline.predict.classifier import predict_samples
from scanline.predict.detector import detect_samples, load_detector
from scanline.predict.image_files import find_images
from scanline.predict.image_models import read_kind
from scanline.predict.image_segmenter import enlarge_mask
from scanline.predict.images import BATCH_SIZE
from scanline.predict.pictures import ORANGE, draw_boxes, draw_maps, draw_mask
from scanline.predict.probability_maps import ProbabilityMaps, write_maps
from scanline.predict.segmenter import predict_maps
from scanline.prepare.pixels import cache_pixels
from scanline.prepare.samples import Samples
from scanline.prepare.segmentation_samples import MaskSamples, SplitMasks
from scanline.train.detection import DetectionSamples, DetectorSpec
from scanline.train.segmentation_networks import SegmenterSpec, build_segmenter, save_segmenter
from scanline.train.torchvision_classifier import ClassifierSpec, build_classifier, save_classifier
from scanline.train.torchvision_detector import build_detector, save_detector
from scanline.train.ultralytics_detector import import_ultralytics

SIZE = 64
LABELS = ("bleed", "oedema")
KINDS = ("binary", "multilabel", "torchvision", "ultralytics", "segment")
COUNT = BATCH_SIZE + 2  # more than one batch
CPU = torch.device("cpu")
GREY = (1, SIZE, (0.4,), (0.2,))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of several sizes, types and folders: a/00.png, b/01.jpg, ..."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    for number in range(COUNT):
        place = root / "ab"[number % 2]
        place.mkdir(exist_ok=True)
        height, width = rng.integers(70, 130, 2)
        pixels = rng.integers(0, 90, (height, width), dtype=np.uint8)
        pixels[20:50, 15:60] += 150
        Image.fromarray(pixels).save(place / f"{number:02d}.{('png', 'jpg', 'bmp', 'tif', 'webp')[number % 5]}")
    (root / "a" / "notes.txt").write_text("no image")
    (root / ".hidden.png").write_text("no image")
    return root


def make_model(kind, path):
    torch.manual_seed(3)
    if kind in ("binary", "multilabel"):
        spec = ClassifierSpec("squeezenet1_1", *GREY, LABELS[:1] if kind == "binary" else LABELS)
        save_classifier(path, spec, build_classifier(spec))
    elif kind == "segment":
        spec = SegmenterSpec("linknet", "resnet18", *GREY, "oedema")
        save_segmenter(path, spec, build_segmenter(spec))
    elif kind == "torchvision":
        spec = DetectorSpec("torchvision", "ssdlite320_mobilenet_v3_large", LABELS, SIZE, 1, (0.4,), (0.2,))
        network = build_detector(spec)
        for name, weights in network.head.classification_head.named_parameters():
            if name.endswith(".1.weight"):
                weights.data *= 1e7  # so that an untrained network tells images apart
        save_detector(path, spec, network)
    else:
        import_ultralytics()
        from scanline.train.ultralytics_trainer import build_network

        spec = DetectorSpec("ultralytics", "yolov8n", LABELS, SIZE, 1, (0.0,), (1.0,))
        network = build_network("yolov8n", len(LABELS), 1)
        for head in network.model[-1].cv3:  # so that an untrained network finds something, and tells images apart
            torch.nn.init.zeros_(head[-1].bias)
            head[-1].weight.data *= 1e6
        torch.save({"spec": spec.as_json(), "state": network.state_dict()}, path)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model.pt of each kind, in a results folder of its own."""
    torch.set_num_threads(1)
    made = {}
    for kind in KINDS:
        made[kind] = tmp_path_factory.mktemp(kind) / "study" / "models" / "grouped" / "seed1" / "model.pt"
        made[kind].parent.mkdir(parents=True)
        make_model(kind, made[kind])
    return made


@pytest.fixture
def predict(monkeypatch, capsys):
    """Run the command; the line that it prints."""

    def run(*images, model, output, **options):
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        arguments = [*map(str, images), f"--model={model}", f"--output={output}", *words]
        monkeypatch.setattr(sys, "argv", ["predict_images.py", *arguments])
        script.main()
        return capsys.readouterr().out

    return run


def point_of(kind, path):
    """A frozen operating point that nothing was fitted on, which calls some of the images."""
    fitted = (None,) * 4
    if kind == "binary":
        content = OperatingPoint("fixed", 0.4, 2.0, None, *fitted, None).as_json()
    elif kind == "multilabel":
        content = points_as_json(
            {
                "oedema": OperatingPoint("fixed", 0.6, None, None, *fitted, None),
                "bleed": OperatingPoint("fixed", 0.45, 0.5, None, *fitted, None),
            }
        )
    elif kind == "segment":
        content = MaskThreshold("fixed", 140, 140 / LEVELS, *fitted, None).as_json()
    else:
        content = DetectorPoint("fixed", 0.3 if kind == "torchvision" else 0.4, 0.5, *fitted, None).as_json()
    write_json(path, content)
    return path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def caches(folder, tmp_path):
    """The pixel cache of the folder, made as the pipeline does, with names and sizes in its order."""
    files = find_images([folder])
    images = pd.DataFrame({"image_id": [file.name for file in files], "path": [str(file.path) for file in files]})
    cache_pixels(images, SIZE, tmp_path / "pixels.npy", threads=1)
    sizes = np.array([read_image(file.path).shape[::-1] for file in files])
    return images["image_id"].to_numpy(dtype=object), np.load(tmp_path / "pixels.npy"), sizes


def scores_of(model, folder, tmp_path, kind):
    names, pixels, _ = caches(folder, tmp_path)
    classes = LABELS[:1] if kind == "binary" else LABELS
    truth = np.zeros((len(names), len(classes)), np.float32)
    truth[::3] = 1
    samples = {"test": Samples(names, np.arange(len(names)), truth, pixels)}
    target = LABELS[0] if kind == "binary" else LABELS
    return predict_samples(model, samples, target, CPU, BATCH_SIZE)


def test_a_classifier_gives_the_pipelines_probabilities(folder, models, tmp_path, predict):
    point = point_of("binary", tmp_path / "point.json")
    line = predict(folder, model=models["binary"], output=tmp_path / "out", operating_point=point)
    table = pd.read_csv(tmp_path / "out/per_image.csv")
    scores, cams = scores_of(models["binary"], folder, tmp_path, "binary")
    expected = OperatingPoint(**json.loads(point.read_text())).calibrate(scores["probability"].to_numpy())
    assert table["image"].tolist() == scores["image_id"].tolist()
    assert table["probability"].tolist() == expected.tolist()
    assert table["positive"].tolist() == (expected >= 0.4).tolist()
    assert 0 < table["positive"].sum() < COUNT or expected.std() < 0.02
    assert set(table["threshold"]) == {0.4}
    assert line.startswith(f"{COUNT} images predicted: bleed on {table['positive'].sum()}.")
    for place, (name, picture) in enumerate(zip(table["image"], table["grad_cam"], strict=True)):
        grey = read_image(folder / name)
        drawn = np.asarray(Image.open(tmp_path / "out" / picture))
        assert drawn.shape == (grey.shape[0], 2 * grey.shape[1], 3)
        assert np.array_equal(drawn, draw_maps(grey, cams[place][None].astype(np.float32), [""]))


def test_several_labels_have_their_own_temperature_and_threshold(folder, models, tmp_path, predict):
    point = point_of("multilabel", tmp_path / "point.json")
    line = predict(folder, model=models["multilabel"], output=tmp_path / "out", operating_point=point)
    table = pd.read_csv(tmp_path / "out/per_image.csv")
    scores, _ = scores_of(models["multilabel"], folder, tmp_path, "multilabel")
    for label, record in json.loads(point.read_text())["labels"].items():
        expected = OperatingPoint(**record).calibrate(scores[f"probability_{label}"].to_numpy())
        assert table[f"probability_{label}"].tolist() == expected.tolist()
        assert table[f"positive_{label}"].tolist() == (expected >= record["threshold"]).tolist()
        assert set(table[f"threshold_{label}"]) == {record["threshold"]}
        assert f"{label} on {(expected >= record['threshold']).sum()}" in line


def test_of_classes_that_exclude_another_the_most_probable_is_called(folder, tmp_path, predict):
    torch.manual_seed(3)
    classes, model = ("normal", "bleed", "oedema"), tmp_path / "model.pt"
    spec = ClassifierSpec("squeezenet1_1", *GREY, classes, "softmax")
    save_classifier(model, spec, build_classifier(spec))
    point = ClassPoint("most_probable", classes, 0.5, None, None, None)
    write_json(tmp_path / "point.json", point.as_json())
    line = predict(folder, model=model, output=tmp_path / "out", operating_point=tmp_path / "point.json")
    table = pd.read_csv(tmp_path / "out/per_image.csv")
    names, pixels, _ = caches(folder, tmp_path)
    truth = np.eye(3, dtype=np.float32)[np.zeros(len(names), dtype=int)]
    scores, _ = predict_samples(model, {"test": Samples(names, np.arange(len(names)), truth, pixels)}, classes, CPU)
    columns = [f"probability_{name}" for name in classes]
    expected = point.calibrate(scores[columns].to_numpy())
    assert table[columns].to_numpy() == pytest.approx(expected)
    assert table["class"].tolist() == [classes[place] for place in expected.argmax(axis=1)]
    assert table["probability"].tolist() == pytest.approx(expected.max(axis=1))
    assert read_kind(model).name == "multiclass"
    assert line.startswith(f"{COUNT} images predicted: ")
    with pytest.raises(InputError, match="found the operating point of a classifier of one class"):
        predict(folder, model=model, output=tmp_path / "x", operating_point=point_of("binary", tmp_path / "b.json"))


@pytest.mark.parametrize("kind", ["torchvision", "ultralytics"])
def test_a_detector_gives_the_pipelines_boxes(folder, models, tmp_path, predict, kind):
    names, pixels, sizes = caches(folder, tmp_path)
    nothing = tuple(np.zeros((0, 4), np.float32) for _ in names), tuple(np.zeros(0, np.int64) for _ in names)
    samples = {"test": DetectionSamples(names, np.arange(len(names)), *nothing, sizes, pixels, {})}
    _, detector = load_detector(models[kind], CPU)
    found, _ = detect_samples(detector, LABELS, samples, BATCH_SIZE)
    best = found.groupby("image_id")["score"].max().sort_values()
    threshold = float(best.iloc[COUNT // 2])  # a box of exactly this score counts; half of the images have none
    point = tmp_path / "point.json"
    write_json(point, DetectorPoint("fixed", threshold, 0.5, *(None,) * 5).as_json())
    line = predict(folder, model=models[kind], output=tmp_path / "out", operating_point=point)

    class Result:
        detections = found.assign(called=found["score"] >= threshold)

    expected = called_detections(Result, pd.DataFrame({"image_id": names}))
    table = pd.read_csv(tmp_path / "out/detections.csv", dtype={"class": "str"})
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, check_exact=True)
    assert 0 < table["class"].isna().sum() == (best < threshold).sum() < COUNT
    images = pd.read_csv(tmp_path / "out/image_level.csv").set_index("image")
    assert images["max_confidence"].to_dict() == best.to_dict()
    assert images["predicted"].sum() == (best >= threshold).sum()
    counts = [table.loc[table["class"] == label, "image"].nunique() for label in LABELS]
    assert f"bleed on {counts[0]}, oedema on {counts[1]}." in line
    for name, picture in images["boxes"].items():
        assert Image.open(tmp_path / "out" / picture).size == Image.open(folder / name).size
    for name, rows in table.dropna(subset=["class"]).groupby("image"):
        width, height = Image.open(folder / name).size
        assert rows[["xmin", "ymin"]].min().min() >= 0
        assert rows["xmax"].max() <= width
        assert rows["ymax"].max() <= height


def maps_of(model, folder, tmp_path):
    names, pixels, _ = caches(folder, tmp_path)
    rows = np.arange(len(names))
    samples = MaskSamples(names, rows, np.zeros((len(names), 1), np.float32), pixels, masks=np.zeros_like(pixels))
    table = predict_maps(model, SplitMasks({"test": samples}, {}), CPU, tmp_path / "maps.npz", BATCH_SIZE)
    write_table(table, tmp_path / "maps.parquet")
    return ProbabilityMaps(tmp_path / "maps.npz", tmp_path / "maps.parquet")


def test_a_segmenter_gives_the_pipelines_masks_at_the_original_size(folder, models, tmp_path, predict):
    maps = maps_of(models["segment"], folder, tmp_path)
    level = sorted(int(maps[name].max()) for name in maps.table["image_id"])[COUNT // 2]
    threshold = MaskThreshold("fixed", level, level / LEVELS, *(None,) * 5)
    write_json(tmp_path / "point.json", threshold.as_json())
    areas = {name: int((maps[name] >= level).sum()) for name in maps.table["image_id"]}
    fewest = max(areas.values())
    write_json(
        tmp_path / "metrics.json", {"operating_point_sha256": threshold.sha256(), "min_predicted_pixels": fewest}
    )
    predict(folder, model=models["segment"], output=tmp_path / "out", operating_point=tmp_path / "point.json")
    table = pd.read_csv(tmp_path / "out/per_image.csv").set_index("image")
    assert set(areas) == set(table.index)
    for name, row in table.iterrows():
        mask = np.asarray(Image.open(tmp_path / "out" / row["mask"]))
        grey = read_image(folder / name)
        assert mask.shape == grey.shape == (row["height"], row["width"])
        assert set(np.unique(mask)) <= {0, 255}
        assert Image.open(tmp_path / "out" / row["overlay"]).size == (row["width"], row["height"])
        y, x = ([int((pixel + 0.5) * SIZE / side) for pixel in range(side)] for side in grey.shape)
        by_hand = threshold.predict(maps[name])[np.ix_(y, x)]
        assert np.array_equal(mask > 0, by_hand)
        assert row["predicted_pixels"] == (mask > 0).sum()
        assert row["area_share"] == (mask > 0).mean()
        assert row["predicted_pixels_of_network"] == areas[name]
        assert row["positive"] == (areas[name] >= fewest)
        assert row["probability"] == maps[name].max() / LEVELS
    assert 0 < (table["predicted_pixels"] > 0).sum() < COUNT
    assert 0 < table["positive"].sum() < (table["predicted_pixels"] > 0).sum() or fewest == 1


def test_each_pixel_of_the_mask_is_found_again_when_it_is_enlarged():
    mask = np.random.default_rng(0).random((16, 16)) < 0.3
    assert np.array_equal(enlarge_mask(mask, 48, 32)[::2, ::3], mask)
    assert enlarge_mask(mask, 48, 32).sum() == 6 * mask.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_one_image_is_one_line_of_json(folder, models, tmp_path, predict, kind):
    image = folder / "b/01.jpg"
    answer = json.loads(predict(image, model=models[kind], output=tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out" / ("per_image.csv" if kind in KINDS[:2] + KINDS[4:] else "image_level.csv"))
    assert answer["image"] == str(image)
    assert table["image"].tolist() == ["01.jpg"]
    if kind == "binary":
        assert list(answer) == ["image", "class", "positive", "probability", "threshold", "grad_cam"]
        assert answer["threshold"] == 0.5
        assert answer["probability"] == pytest.approx(table["probability"].item(), abs=1e-6)
    elif kind == "multilabel":
        assert tuple(answer["labels"]) == LABELS
        assert all(set(own) == {"positive", "probability", "threshold"} for own in answer["labels"].values())
    elif kind == "segment":
        assert {"predicted_pixels", "area_share", "mask", "overlay"} <= set(answer)
    else:
        assert answer["positive"] == bool(answer["detections"])
    for name in {"grad_cam", "boxes", "mask", "overlay"} & set(answer):
        Image.open(answer[name]).verify()


@pytest.mark.parametrize("kind", ["ultralytics", "segment"])
def test_images_that_cannot_be_read_are_listed_and_the_others_predicted(models, tmp_path, predict, capsys, kind):
    images = tmp_path / "images"
    images.mkdir()
    good = np.random.default_rng(0).integers(0, 255, (80, 90), dtype=np.uint8)
    Image.fromarray(good).save(images / "good.png")
    (images / "cut.png").write_bytes((images / "good.png").read_bytes()[:900])
    Image.fromarray(good.astype(np.uint16) * 200).save(images / "deep.png")
    (images / "text.jpg").write_text("no image")
    (images / "gone.png").symlink_to(images / "nothing.png")
    output = tmp_path / "out"
    with pytest.raises(InputError, match=r"rejects.csv: found 4 of 5 images.*cut\.png"):
        predict(images, model=models[kind], output=output)
    assert "1 images predicted" in capsys.readouterr().out
    reasons = pd.read_csv(output / "rejects.csv").set_index("image")["reason"]
    assert sorted(reasons.index) == ["cut.png", "deep.png", "gone.png", "text.jpg"]
    assert "damaged" in reasons["cut.png"]
    assert "8 bits" in reasons["deep.png"]
    table = "image_level" if kind == "ultralytics" else "per_image"
    assert pd.read_csv(output / f"{table}.csv")["image"].tolist() == ["good.png"]
    with pytest.raises(InputError, match=r"deep\.png: found more than 8 bits"):
        predict(images / "deep.png", model=models[kind], output=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (images / "good.png").unlink()
    with pytest.raises(InputError, match="4 of 4"):
        predict(images, model=models[kind], output=tmp_path / "none")
    assert names_in(tmp_path / "none") == ["rejects.csv"]


def test_files_of_equal_stem_have_pictures_of_their_own(tmp_path):
    for name in ("one/s.png", "two/s.png", "two/s.jpg", "two/t.PNG", "two/deep/s.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    inputs = [tmp_path / "two/../one/s.png", tmp_path / "two", tmp_path / "two/deep"]
    files = find_images(inputs)
    assert [file.name for file in files] == ["one/s.png", "two/deep/s.png", "two/s.jpg", "two/s.png", "two/t.PNG"]
    pictures = ["one/s.png", "two/deep/s.png", "two/s.jpg.png", "two/s.png.png", "two/t.png"]
    assert [file.picture for file in files] == pictures
    (tmp_path / "two/s.png.bmp").write_text("")
    assert len({file.picture for file in find_images([tmp_path])}) == 6
    assert [file.name for file in find_images([tmp_path / "two/deep"])] == ["s.png"]


def test_inputs_without_an_image_are_one_line(tmp_path):
    with pytest.raises(InputError, match="found nothing there"):
        find_images([tmp_path / "none.png"])
    with pytest.raises(InputError, match="an empty folder"):
        find_images([tmp_path])
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(InputError, match=r"1 files, none of them an image; expected files that end in \.avif"):
        find_images([tmp_path])
    (tmp_path / "back").symlink_to(tmp_path)
    with pytest.raises(InputError, match="a link back"):
        find_images([tmp_path])


def test_nothing_of_the_users_is_overwritten(folder, models, tmp_path, predict):
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    for place, found in (
        (output, "a folder with files"),
        (output / "mine.txt", "a file"),
        (folder / "x", "a place among"),
    ):
        with pytest.raises(InputError, match=f"found {found}"):
            predict(folder, model=models["binary"], output=place)
    assert names_in(output) == ["mine.txt"]
    (output / "mine.txt").unlink()
    predict(folder / "a/00.png", model=models["binary"], output=output)
    assert names_in(output) == ["grad_cam", "per_image.csv"]


def test_wrong_model_or_device_is_one_line(folder, models, tmp_path, predict, monkeypatch):
    image, output = folder / "a/00.png", tmp_path / "out"
    with pytest.raises(InputError, match=r"none\.pt: found nothing there"):
        predict(image, model=tmp_path / "none.pt", output=output)
    with pytest.raises(InputError, match=r"00\.png: found something else"):
        predict(image, model=image, output=output)
    torch.save({"spec": "no json", "state": {}}, tmp_path / "odd.pt")
    with pytest.raises(InputError, match=r"odd\.pt: found something else"):
        predict(image, model=tmp_path / "odd.pt", output=output)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"--device cuda: found no GPU.*Say --device cpu"):
        predict(image, model=models["binary"], output=output, device="cuda")
    assert not output.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", ["binary", "multilabel", "torchvision", "segment"])
def test_the_operating_point_of_another_kind_is_refused(folder, models, tmp_path, predict, kind, other):
    if kind == other or (kind, other) == ("ultralytics", "torchvision"):
        return
    point = point_of(other, tmp_path / "point.json")
    with pytest.raises(InputError, match=r"the operating point of a .*; expected that of a"):
        predict(folder, model=models[kind], output=tmp_path / "out", operating_point=point)


def test_the_operating_point_of_other_labels_is_refused(folder, models, tmp_path, predict):
    content = json.loads(point_of("multilabel", tmp_path / "point.json").read_text())
    content["labels"]["fracture"] = content["labels"].pop("oedema")
    write_json(tmp_path / "point.json", content)
    with pytest.raises(InputError, match="thresholds of bleed, fracture; expected those of bleed, oedema"):
        predict(folder, model=models["multilabel"], output=tmp_path / "out", operating_point=tmp_path / "point.json")


def fitted_run(kind, study):
    """Write val predictions of a run as the pipeline does, and the operating point fitted on them; its record."""
    rng = np.random.default_rng(1)
    names = [f"s/{number}" for number in range(12)]
    subsets = ["val"] * 8 + ["test"] * 4
    truth = np.arange(12) % 2 == 0
    place = study / "predictions/grouped/seed1"
    frame = pd.DataFrame({"image_id": names, "subset": subsets})
    evaluate = {"evaluate": {"temperature_scaling": True}}
    salt = {"patient_salt": "salt"}
    if kind == "binary":
        scores = frame.assign(truth=truth, probability=rng.random(12))
        write_table(scores, place / "scores.parquet")
        return fit_classifier(scores, EvaluateClassifierOptions(target="bleed", **evaluate, **salt)).as_json()
    if kind == "multilabel":
        for place_of_null, label in enumerate(LABELS):
            known = [None if row == place_of_null else value for row, value in enumerate(truth)]
            frame[f"probability_{label}"] = rng.random(12)
            frame[f"truth_{label}"] = pd.array(known, dtype="boolean")
        write_table(frame, place / "scores.parquet")
        return points_as_json(fit_labels_on_val(frame, EvaluateMultilabelOptions(targets=LABELS, **salt)))
    if kind == "segment":
        masks = np.zeros((12, SIZE, SIZE), np.uint8)
        masks[truth, 8:20, 8:20] = 1
        masks[3] = 255
        maps = {name: rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8) for name in names}
        prepared = study / f"prepared/{SIZE}px"
        (prepared / "masks").mkdir(parents=True, exist_ok=True)
        np.save(prepared / "masks/oedema.npy", masks)
        write_json(study / "models/grouped/seed1/run.json", {"image_size_px": SIZE})
        rows = frame.assign(row=range(12))
        write_table(rows[["image_id", "row"]], prepared / "pixels.parquet")
        write_maps(place / "maps.npz", maps.values())
        write_table(rows, place / "maps.parquet")
        truths = MaskTruths(masks, dict(zip(names, range(12), strict=True)))
        options = EvaluateSegmenterOptions(target="oedema", **salt)
        return fit_segmenter(rows, maps, truths, options, "maps").as_json()
    box = {"label": "bleed", "x": 3.0, "y": 4.0, "width": 20.0, "height": 10.0}
    boxes = pd.DataFrame([{"image_id": name, **box} for name in np.array(names)[truth]])
    found = pd.DataFrame([{**row, **box, "score": rng.random()} for row in frame.to_dict("records")])
    images = pd.DataFrame({"image_id": names, "patient_id": names})
    labels = pd.DataFrame({"image_id": names, "bleed": truth, "oedema": False})
    write_table(boxes, study / "curated/boxes.parquet")
    write_table(found, place / "detections.parquet")
    write_table(frame, place / "predicted.parquet")
    tables = DetectorTables(found, frame, images, boxes, labels)
    return fit_detector(tables, EvaluateDetectorOptions(targets=LABELS, **salt)).as_json()


DIGESTS = {"binary": "scores_sha256", "multilabel": "scores_sha256", "segment": "maps_sha256"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_operating_point_fitted_on_another_models_predictions_is_refused(folder, models, tmp_path, predict, kind):
    point = tmp_path / "point.json"
    record = fitted_run(kind, models[kind].parents[3])
    write_json(point, record)
    predict(folder / "a/00.png", model=models[kind], output=tmp_path / "right", operating_point=point)
    one = record["labels"]["oedema"] if kind == "multilabel" else record
    one[DIGESTS.get(kind, "tables_sha256")] = "0123456789ab" * 5 + "0123"
    write_json(point, record)
    expected = r"fitted on other val predictions \(0123456789ab.*Give .*metrics/grouped/seed1/operating_point\.json"
    with pytest.raises(InputError, match=expected):
        predict(folder / "a/00.png", model=models[kind], output=tmp_path / "wrong", operating_point=point)
    assert not (tmp_path / "wrong").exists()


def test_evidence_is_coloured_where_it_lies():
    grey = np.full((60, 80), 100, np.uint8)
    cams = np.zeros((4, 4, 4), np.float32)
    cams[:, 0, 0] = 1
    picture = draw_maps(grey, cams, [""] * 4)
    assert picture.shape == (120, 320, 3)  # five pictures in rows of four
    assert (picture[:60, :80] == 100).all()
    assert (picture[40:60, 150:160] == 100).all()
    assert picture[2, 82].tolist() == pytest.approx([178, 135, 40], abs=3)
    assert (picture[60:, 80:] == 0).all()
    named = draw_maps(grey, cams[:1], ["bleed"])
    assert (named[:20, 80:120] != draw_maps(grey, cams[:1], [""])[:20, 80:120]).any()


def test_boxes_are_drawn_where_they_are():
    grey = np.zeros((100, 200), np.uint8)
    corners = np.array([[50.0, 40.0, 90.0, 80.0], [0.0, 0.0, 200.0, 100.0]])
    picture = draw_boxes(grey, corners, ["bleed 0.90", "oedema 0.10"], [0, 1])
    assert picture[40, 70].tolist() == picture[79, 70].tolist() == picture[60, 50].tolist() == list(ORANGE)
    assert picture[60, 89].tolist() == list(ORANGE)
    assert picture[60, 70].tolist() == picture[81, 70].tolist() == [0, 0, 0]
    assert picture[50, 0].tolist() == picture[50, 199].tolist() == picture[99, 5].tolist() == [86, 180, 233]
    assert picture[26:39, 50:100].any()
    assert not draw_boxes(grey, np.zeros((0, 4)), [], []).any()


def test_a_mask_has_a_solid_edge_and_leaves_the_rest():
    grey = np.full((50, 60), 100, np.uint8)
    mask = np.zeros((50, 60), bool)
    mask[10:30, 40:] = True
    picture = draw_mask(grey, mask)
    assert picture[10, 50].tolist() == picture[29, 50].tolist() == picture[20, 59].tolist() == list(ORANGE)
    assert picture[20, 50].tolist() == pytest.approx([139, 118, 70], abs=1)
    assert (picture[~mask] == 100).all()
