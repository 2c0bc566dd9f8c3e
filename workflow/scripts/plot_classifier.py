"""Draw the figures of one trained classifier: loss, ROC, precision-recall, confusion matrix, calibration, examples."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import read_table
from scanline.figures.classifier import plot_calibration, plot_confusion, plot_curve
from scanline.figures.examples import plot_examples, read_slices
from scanline.figures.options import RunFigureOptions
from scanline.figures.training import plot_loss, plot_trainings


def main() -> None:
    """Run the rule."""
    sources = ("pixels", "index", "cams", "images", "boxes")
    inputs = ("history+", "run+", "metrics", "curves", "per_image", *sources)
    outputs = ("loss", "roc", "precision_recall", "confusion", "calibration", "examples")
    args = parse_arguments(__doc__, *inputs, "options", *outputs)
    options = read_options(RunFigureOptions, args.options)
    metrics, curves = read_json(args.metrics), read_table(args.curves)
    plot_trainings(args.history, args.run, options, args.loss, plot_loss)
    plot_curve("roc", curves, metrics, options, args.roc)
    plot_curve("precision_recall", curves, metrics, options, args.precision_recall)
    plot_confusion(metrics, options, args.confusion)
    plot_calibration(metrics, options, args.calibration)
    slices = read_slices(**{name: getattr(args, name) for name in sources})
    plot_examples(read_table(args.per_image), slices, metrics["threshold"], options, args.examples)
    logger.info("drew %d figures of %s", len(outputs), options.title)


if __name__ == "__main__":
    run(main)
