"""Predict one image with a trained model: class, probability, and a Grad-CAM picture of where the evidence lies."""

import argparse
from pathlib import Path

from scanline.core.command_line import run
from scanline.predict.single_image import predict_image


def main() -> None:
    """Read the command line, predict, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path, help="a PNG or JPEG, windowed as the training images were")
    parser.add_argument("--model", type=Path, required=True, help="results/.../model.pt")
    parser.add_argument("--operating-point", type=Path, help="metrics/.../operating_point.json; without it, 0.5")
    parser.add_argument("--grad-cam", type=Path, help="PNG to write; default: <image's name>.grad_cam.png here")
    args = parser.parse_args()
    picture = args.grad_cam or Path(f"{args.image.stem}.grad_cam.png")
    print(predict_image(args.image, args.model, args.operating_point, picture))


if __name__ == "__main__":
    run(main)
