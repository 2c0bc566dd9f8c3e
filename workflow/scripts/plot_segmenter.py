"""Draw the figures of one segmentation network: training, Dice, confusion of pixels and images, overlays."""

import numpy as np

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import read_table
from scanline.figures.segmenter import (
    SegmenterFigureOptions,
    plot_dice,
    plot_image_confusion,
    plot_pixel_confusion,
    plot_training,
)
from scanline.figures.segmenter_overlays import MaskedSlices, plot_overlays
from scanline.figures.training import read_history
from scanline.predict.probability_maps import ProbabilityMaps


def main() -> None:
    """Run the rule."""
    inputs = ("history", "run", "metrics", "per_image", "pixels", "index", "masks", "maps", "table")
    outputs = ("training", "dice", "pixel_confusion", "image_confusion", "overlays")
    args = parse_arguments(__doc__, *inputs, "options", *outputs)
    options = read_options(SegmenterFigureOptions, args.options)
    metrics, per_image, index = read_json(args.metrics), read_table(args.per_image), read_table(args.index)
    plot_training(read_history(args.history), read_json(args.run), options, args.training)
    plot_dice(per_image, metrics, options, args.dice)
    plot_pixel_confusion(metrics, options, args.pixel_confusion)
    plot_image_confusion(metrics, options, args.image_confusion)
    slices = MaskedSlices(
        np.load(args.pixels, mmap_mode="r"),
        np.load(args.masks, mmap_mode="r"),
        dict(zip(index["image_id"], index["row"].tolist(), strict=True)),
        ProbabilityMaps(args.maps, args.table),
        metrics["threshold"],
    )
    plot_overlays(per_image, slices, options, args.overlays)
    logger.info("drew %d figures of %s", len(outputs), options.title)


if __name__ == "__main__":
    run(main)
