"""An image-level network as ONNX, checked against PyTorch, with a statement of what its input has to be."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch
from numpy.typing import NDArray

from scanline.core.errors import InputError
from scanline.core.files import sha256_of_file
from scanline.core.images import EXIF_ORIENTATION, FIRST_FRAME, SIXTEEN_BITS
from scanline.train.batches import normalise
from scanline.train.torchvision_classifier import ClassifierSpec

INPUT, OUTPUT = "images", "probabilities"
OPSET = 18  # onnxruntime reads it from 1.14 on
TOLERANCE = 1e-4  # of a probability: two libraries add up float32 in different orders
REPAIR_STEPS = {
    FIRST_FRAME: "of an animation, or of several pages, take the first",
    EXIF_ORIENTATION: "turn the image upright as its EXIF orientation says",
    SIXTEEN_BITS: "spread more than 8 bits a channel over 0 to 255, the image's least value to its largest",
}
WINDOW = ["window_center_hu", "window_width_hu"]


class Probabilities(torch.nn.Module):
    """A classifier with the sigmoid or softmax that makes probabilities of its outputs."""

    def __init__(self, model: torch.nn.Module, spec: ClassifierSpec) -> None:
        super().__init__()
        self.model, self.exclusive = model, spec.output == "softmax"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images, shape (n, channels, size, size), normalised, to shape (n, classes), float32."""
        logits: torch.Tensor = self.model(images)
        return logits.softmax(dim=1) if self.exclusive else logits.sigmoid()


def write_onnx(model: torch.nn.Module, spec: ClassifierSpec, path: Path) -> None:
    """Write a network for any number of images at once.

    By PyTorch's exporter from TorchScript, which takes a tenth of the time of the one from `torch.export`, for the same
    scores.

    Args:
        model: In evaluation mode, on the CPU.
        spec: Of the network.
        path: .onnx file to write.
    """
    example = torch.zeros(2, spec.channels, spec.image_size_px, spec.image_size_px)
    torch.onnx.export(
        Probabilities(model, spec).eval(),
        (example,),
        path,
        dynamo=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: {0: "images"}, OUTPUT: {0: "images"}},
    )
    onnx.checker.check_model(str(path), full_check=True)


def check_onnx(path: Path, model: torch.nn.Module, spec: ClassifierSpec, images: NDArray[np.uint8]) -> float:
    """Compare the probabilities of an ONNX file with the network's own.

    Args:
        path: The file.
        model: In evaluation mode, on the CPU.
        spec: Of the network.
        images: Shape (n, size, size), uint8, from the pixel cache.

    Returns:
        The largest difference.

    Raises:
        InputError: If it is more than TOLERANCE.
    """
    inputs = normalise(torch.from_numpy(np.array(images)).unsqueeze(1), spec.mean, spec.std).contiguous()
    with torch.no_grad():
        expected = Probabilities(model, spec)(inputs).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUT], {INPUT: inputs.numpy()})
    differences = np.abs(found - expected)
    largest = float(differences.max())
    if not largest <= TOLERANCE:
        raise InputError(
            path,
            found=f"probabilities that differ from PyTorch's by up to {largest:.3g}, on {len(images)} images",
            expected=f"at most {TOLERANCE:g}",
            next_step="Delete the file and export again; if it stays so, this network cannot be exported.",
        )
    return largest


def windows_in(images: pd.DataFrame) -> list[dict[str, float]]:
    """The windows that DICOM images of a study were brought to grey by, each once; none where there is no DICOM."""
    if not set(WINDOW) <= set(images.columns):
        return []
    found = images[WINDOW].dropna().drop_duplicates().sort_values(WINDOW)
    return [{name: float(row[name]) for name in WINDOW} for row in found.to_dict("records")]


def describe_input(
    spec: ClassifierSpec, windows: Sequence[dict[str, float]], repairs: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """What has to be done with an image before the network sees it, in order, and what comes out.

    Args:
        spec: Of the network.
        windows: See `windows_in`.
        repairs: What is mended of each source's pictures, as `scanline.core.images.REPAIRS` names it.
    """
    size = spec.image_size_px
    wanted = {name for names in repairs.values() for name in names}
    steps = [
        *[step for name, step in REPAIR_STEPS.items() if name in wanted],
        "read the image as grey, 0 to 255; of DICOM the rescaled values, cut to the window and spread over 0 to 255",
        f"resize to {size} x {size} px, bilinear with antialiasing, whatever the aspect ratio; round to whole numbers",
        "divide by 255",
        f"repeat to {spec.channels} channels" if spec.channels > 1 else "keep the one channel",
        "subtract mean, then divide by std, each by channel",
    ]
    return {
        "input": {"name": INPUT, "shape": ["images", spec.channels, size, size], "type": "float32"},
        "steps": steps,
        "image_size_px": size,
        "channels": spec.channels,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "windows": list(windows),
        "repairs": {source: list(names) for source, names in repairs.items()},
        "output": {"name": OUTPUT, "shape": ["images", len(spec.classes)], "type": "float32"},
        "classes": list(spec.classes),
        "classes_exclude_another": spec.output == "softmax",
    }


def describe_check(path: Path, model: Path, images: int, largest: float) -> dict[str, Any]:
    """What the comparison with PyTorch found, and of which files."""
    return {
        "onnx_sha256": sha256_of_file(path),
        "model_sha256": sha256_of_file(model),
        "check": {
            "images": images,
            "largest_difference": largest,
            "tolerance": TOLERANCE,
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }
