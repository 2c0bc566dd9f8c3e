"""PNG files that are written here, read by others; and sets of DICOM and volumes exported as PNG."""

import io

import cv2
import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from scanline.core.images import Window, windowed
from scanline.prepare.png import encode_png
from scanline.prepare.set_export import write_pngs


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_other_decoders_read_the_same_pixels(grey):
    content = encode_png(grey)
    with Image.open(io.BytesIO(content)) as image:
        image.verify()
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), grey)
    assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), grey)


def test_slices_of_a_volume_become_files(tmp_path):
    volume = np.random.default_rng(0).normal(500, 200, (4, 12, 10)).astype(np.float32)
    np.save(tmp_path / "v.npy", volume)
    images = pd.DataFrame({"path": str(tmp_path / "v.npy"), "frame_index": [2, 0]})
    images = images.assign(window_center_hu=500.0, window_width_hu=800.0)
    targets = [tmp_path / "a.png", tmp_path / "b.png"]
    write_pngs(images, targets, 2)
    for target, frame in zip(targets, (2, 0), strict=True):
        assert np.array_equal(np.asarray(Image.open(target)), windowed(volume[frame], Window(500, 800)))
