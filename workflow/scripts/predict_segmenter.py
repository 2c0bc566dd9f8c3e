"""Map val, test and external with a trained segmentation network: the probability of lesion, pixel by pixel."""

import torch

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import write_table
from scanline.predict.options import PredictOptions
from scanline.predict.segmenter import predict_maps
from scanline.prepare.segmentation_samples import load_mask_samples
from scanline.train.device import prepare_device


def main() -> None:
    """Run the rule."""
    names = "options threads model pixels index masks split maps table"
    args = parse_arguments(__doc__, *names.split())
    options = read_options(PredictOptions, args.options)
    device = prepare_device(options.device, args.threads)
    samples = load_mask_samples(args.pixels, args.index, args.masks, args.split)
    table = predict_maps(args.model, samples, device, args.maps, tta=options.test_time_augmentation)
    write_table(table, args.table)
    logger.info("%d images mapped by PyTorch %s", len(table), torch.__version__)


if __name__ == "__main__":
    run(main)
