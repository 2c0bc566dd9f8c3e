"""Predict images or folders of images with a trained model of any task: tables, and pictures of what it says.

Classifiers give probabilities and Grad-CAM, detectors boxes, segmentation networks masks, all at the images' own size.
"""

import argparse
from pathlib import Path

import torch

from scanline.core.command_line import run
from scanline.evaluate.frozen_rules import read_rules
from scanline.predict.image_files import find_images
from scanline.predict.image_models import load_image_model, read_kind
from scanline.predict.images import check_output, device_named, predict_images
from scanline.predict.study_reading import read_study_reading
from scanline.train.device import be_deterministic


def main() -> None:
    """Read the command line, predict, print one line: JSON for a single image, else how many of what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, nargs="+", help="image files, and folders that are searched for images")
    parser.add_argument("--model", type=Path, required=True, help="results/.../model.pt, of any task")
    parser.add_argument("--operating-point", type=Path, help="metrics/.../operating_point.json; without it, 0.5")
    parser.add_argument("--reading", type=Path, help="curated/reading.json; without it, that of the model's results")
    parser.add_argument("--source", help="the study's source whose files are like these, where its sources differ")
    parser.add_argument("--output", type=Path, default=Path("predicted"), help="a new folder; default: predicted")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    args = parser.parse_args()
    files = find_images(args.images)
    check_output(args.output, args.images)
    be_deterministic(torch.get_num_threads())
    kind = read_kind(args.model)
    rules = read_rules(kind.name, kind.classes, args.operating_point, args.model)
    reading = read_study_reading(args.reading, args.model, args.source, [file.path for file in files])
    model = load_image_model(args.model, kind, rules, device_named(args.device))
    predictions = predict_images(files, model, kind.classes, args.output, reading)
    is_single = len(files) == predictions.images == 1 and args.images[0].is_file()
    print(predictions.as_json(args.images[0]) if is_single else predictions.in_one_line())
    predictions.require_all()


if __name__ == "__main__":
    run(main)
