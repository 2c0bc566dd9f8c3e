"""Find boxes on val, test and external with a trained detector of any family."""

import torch

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import write_table
from scanline.predict.augmented_detector import AugmentedDetector
from scanline.predict.detector import detect_samples, load_detector, require_fit
from scanline.predict.detector_options import PredictDetectorOptions
from scanline.train.detection import load_detection_samples
from scanline.train.device import prepare_device

TABLES = ("pixels", "index", "images", "boxes", "labels", "split")


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "threads", "model", *TABLES, "detections", "predicted")
    options = read_options(PredictDetectorOptions, args.options)
    device = prepare_device(options.device, args.threads)
    classes = {"targets": options.targets, "excluded": options.excluded_classes}
    samples = load_detection_samples(**{name: getattr(args, name) for name in TABLES}, **classes)
    spec, detector = load_detector(args.model, device)
    require_fit(spec, samples, options.targets)
    if options.test_time_augmentation is not None:
        detector = AugmentedDetector(detector, options.test_time_augmentation, spec.image_size_px)
    detections, predicted = detect_samples(detector, options.targets, samples)
    write_table(detections, args.detections)
    write_table(predicted, args.predicted)
    logger.info("%d boxes on %d images, by PyTorch %s", len(detections), len(predicted), torch.__version__)


if __name__ == "__main__":
    run(main)
