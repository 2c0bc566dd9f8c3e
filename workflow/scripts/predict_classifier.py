"""Score val, test and external with a trained network of one class or several, and keep its class activation maps."""

import torch

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import write_table
from scanline.predict.classifier import predict_samples, write_maps
from scanline.predict.options import PredictOptions
from scanline.prepare.samples import exclusive_samples, load_samples
from scanline.train.device import prepare_device


def main() -> None:
    """Run the rule."""
    args = parse_arguments(
        __doc__, "options", "threads", "model", "pixels", "index", "labels", "split", "scores", "cams"
    )
    options = read_options(PredictOptions, args.options)
    device = prepare_device(options.device, args.threads)
    samples = load_samples(args.pixels, args.index, args.labels, args.split, options.target)
    if options.exclusive:
        samples = exclusive_samples(samples, options.target, args.labels)
    scores, cams = predict_samples(args.model, samples, options.target, device)
    write_table(scores, args.scores)
    write_maps(scores["image_id"].tolist(), cams, options.target, args.cams)
    logger.info("%d images scored, %d class activation maps, by PyTorch %s", len(scores), len(cams), torch.__version__)


if __name__ == "__main__":
    run(main)
