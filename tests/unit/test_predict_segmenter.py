import sys

import numpy as np
import pandas as pd
import pytest
import torch
from segmentation_study import SIZE, TARGET, UNKNOWN_IDS, make_segmentation_study

import predict_segmenter as script
from scanline.predict.probability_maps import ProbabilityMaps
from scanline.train.segmentation_networks import SegmenterSpec, build_segmenter, load_segmenter, save_segmenter


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_segmentation_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    spec = SegmenterSpec("linknet", "resnet18", 1, SIZE, (0.3,), (0.1,), TARGET)
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_segmenter(path, spec, build_segmenter(spec))
    return path


def predict(study, model, folder, monkeypatch):
    files = {name: study[name] for name in ("pixels", "index", "masks", "split")} | {"model": model}
    files |= {"maps": folder / "maps.npz", "table": folder / "maps.parquet"}
    words = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    options = f'{{"target": "{TARGET}", "device": "cpu"}}'
    monkeypatch.setattr(sys, "argv", ["predict_segmenter.py", "--options", options, "--threads", "1", *words])
    script.main()
    return files["maps"], files["table"]


def test_maps_are_the_networks_probabilities_in_8_bits(study, model, tmp_path, monkeypatch):
    paths = predict(study, model, tmp_path, monkeypatch)
    maps = ProbabilityMaps(*paths)
    pixels = np.load(study["pixels"])
    rows = pd.read_parquet(study["index"]).set_index("image_id")["row"]
    _, network = load_segmenter(model, torch.device("cpu"))
    assert len(maps.table) == 16
    for image_id in maps.table["image_id"]:
        image = (torch.from_numpy(pixels[rows[image_id]])[None, None] / 255 - 0.3) / 0.1
        with torch.no_grad():
            probability = torch.sigmoid(network(image)[0, 0].double()).numpy()
        assert maps[image_id].dtype == np.uint8
        assert np.abs(maps[image_id] - 255 * probability).max() <= 0.51
    again = predict(study, model, tmp_path / "again", monkeypatch)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_val_and_test_are_mapped_and_train_is_not(study, model, tmp_path, monkeypatch):
    table = ProbabilityMaps(*predict(study, model, tmp_path, monkeypatch)).table
    split = pd.read_parquet(study["split"]).set_index("image_id")["subset"]
    assert (split.loc[table["image_id"]].to_numpy() == table["subset"].to_numpy()).all()
    assert set(table["image_id"]) == set(split.index[split != "train"])
    assert set(UNKNOWN_IDS[1:]) <= set(table["image_id"])  # mapped, so that evaluation can count them
    assert table["row"].tolist() == list(range(16))
