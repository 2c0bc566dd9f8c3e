"""Draw the figures of one segmentation network: training, Dice, confusion of pixels and images, overlays."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import read_table
from scanline.figures.options import RunFigureOptions
from scanline.figures.picture_grid import read_cached_images
from scanline.figures.segmenter import plot_dice, plot_image_confusion, plot_pixel_confusion, plot_training
from scanline.figures.segmenter_overlays import MaskedSlices, plot_overlays
from scanline.figures.training import plot_trainings
from scanline.predict.probability_maps import ProbabilityMaps


def main() -> None:
    """Run the rule."""
    inputs = ("history+", "run+", "metrics", "per_image", "pixels", "index", "masks", "maps", "table")
    outputs = ("training", "dice", "pixel_confusion", "image_confusion", "overlays")
    args = parse_arguments(__doc__, *inputs, "options", *outputs)
    options = read_options(RunFigureOptions, args.options)
    metrics, per_image = read_json(args.metrics), read_table(args.per_image)
    plot_trainings(args.history, args.run, options, args.training, plot_training)
    plot_dice(per_image, metrics, options, args.dice)
    plot_pixel_confusion(metrics, options, args.pixel_confusion)
    plot_image_confusion(metrics, options, args.image_confusion)
    slices = MaskedSlices(
        read_cached_images(args.pixels, args.index),
        read_cached_images(args.masks, args.index),
        ProbabilityMaps(args.maps, args.table),
        metrics["threshold"],
    )
    plot_overlays(per_image, slices, options, args.overlays)
    logger.info("drew %d figures of %s", len(outputs), options.title)


if __name__ == "__main__":
    run(main)
