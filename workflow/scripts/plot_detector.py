"""Draw the figures of one trained detector: training, precision-recall, FROC, volumes, confusion matrices, examples."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import read_table
from scanline.figures.detector import plot_confusion, plot_froc, plot_precision_recall, plot_training
from scanline.figures.detector_examples import plot_box_examples, read_box_slices
from scanline.figures.options import RunFigureOptions
from scanline.figures.training import plot_trainings
from scanline.figures.volumes import plot_volume_froc, plot_volume_roc


def main() -> None:
    """Run the rule."""
    inputs = ("history+", "run+", "metrics", "curves", "box_outcomes", "image_level", "pixels", "index", "images")
    outputs = ("training", "precision_recall", "froc", "volume_roc", "volume_froc", "confusion", "examples")
    args = parse_arguments(__doc__, *inputs, "options", *outputs)
    options = read_options(RunFigureOptions, args.options)
    metrics, curves = read_json(args.metrics), read_table(args.curves)
    plot_trainings(args.history, args.run, options, args.training, plot_training)
    plot_precision_recall(curves, metrics, options, args.precision_recall)
    plot_froc(curves, metrics, options, args.froc)
    plot_volume_roc(curves, metrics, options, args.volume_roc)
    plot_volume_froc(curves, metrics, options, args.volume_froc)
    plot_confusion(metrics, options, args.confusion)
    image_level = read_table(args.image_level)
    slices = read_box_slices(pixels=args.pixels, index=args.index, images=args.images, image_level=image_level)
    plot_box_examples(read_table(args.box_outcomes), slices, metrics["threshold"], options, args.examples)
    logger.info("drew %d figures of %s", len(outputs), options.title)


if __name__ == "__main__":
    run(main)
