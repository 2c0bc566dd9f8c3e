"""Export an image-level network as ONNX, check its scores against PyTorch's, and state what its input has to be."""

import torch

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json, write_json, written_aside
from scanline.core.log import logger
from scanline.core.scratch import map_array
from scanline.core.tables import IMAGES, read_table
from scanline.predict.onnx_export import check_onnx, describe_check, describe_input, windows_in, write_onnx
from scanline.train.device import be_deterministic
from scanline.train.torchvision_classifier import load_classifier

CHECKED_IMAGES = 16  # spread evenly over the pixel cache


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "threads", "model", "pixels", "images", "reading", "onnx", "statement")
    be_deterministic(args.threads)
    spec, model = load_classifier(args.model, torch.device("cpu"))
    pixels, images = map_array(args.pixels), read_table(args.images, IMAGES)
    checked = pixels[:: max(1, len(pixels) // CHECKED_IMAGES)][:CHECKED_IMAGES]
    repairs = {name: how["repairs"] for name, how in read_json(args.reading).items()}
    with written_aside(args.onnx) as aside:
        write_onnx(model, spec, aside)
        largest = check_onnx(aside, model, spec, checked)
    found = describe_check(args.onnx, args.model, len(checked), largest)
    write_json(args.statement, {**describe_input(spec, windows_in(images), repairs), **found})
    logger.info("%d images: probabilities differ from PyTorch's by at most %.2g", len(checked), largest)


if __name__ == "__main__":
    run(main)
