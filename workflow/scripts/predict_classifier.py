"""Score val, test and external with a trained network, and keep its class activation maps."""

import numpy as np
import torch

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import written_aside
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import write_table
from scanline.predict.classifier import predict_samples
from scanline.predict.options import PredictOptions
from scanline.prepare.samples import load_samples
from scanline.train.device import be_deterministic, choose_device


def main() -> None:
    """Run the rule."""
    args = parse_arguments(
        __doc__, "options", "threads", "model", "pixels", "index", "labels", "split", "scores", "cams"
    )
    options = read_options(PredictOptions, args.options)
    be_deterministic(args.threads)
    samples = load_samples(args.pixels, args.index, args.labels, args.split, options.target)
    scores, cams = predict_samples(args.model, samples, choose_device(options.device))
    write_table(scores, args.scores)
    with written_aside(args.cams) as aside:
        np.savez_compressed(aside, image_id=scores["image_id"].to_numpy(str)[: len(cams)], cam=cams)
    logger.info("%d images scored, %d class activation maps, by PyTorch %s", len(scores), len(cams), torch.__version__)


if __name__ == "__main__":
    run(main)
