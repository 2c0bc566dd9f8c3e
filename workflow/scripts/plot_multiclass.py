"""Draw the figures of one classifier of classes that exclude another, from the loss curve to example slices."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import read_table
from scanline.figures.classifier import plot_calibration
from scanline.figures.examples import read_slices
from scanline.figures.multiclass import plot_class_confusion
from scanline.figures.multiclass_examples import plot_class_examples
from scanline.figures.multilabel import plot_label_areas, plot_label_curves
from scanline.figures.options import RunFigureOptions
from scanline.figures.training import plot_loss, read_history


def main() -> None:
    """Run the rule."""
    sources = ("pixels", "index", "cams", "images", "boxes")
    inputs = ("history", "run", "metrics", "curves", "per_image", *sources)
    outputs = ["loss", "roc", "precision_recall", "areas", "confusion", "calibration", "examples"]
    args = parse_arguments(__doc__, *inputs, "options", *outputs)
    options = read_options(RunFigureOptions, args.options)
    metrics, curves = read_json(args.metrics), read_table(args.curves)
    plot_loss(read_history(args.history), read_json(args.run), options, args.loss)
    plot_label_curves("roc", curves, metrics, options, args.roc)
    plot_label_curves("precision_recall", curves, metrics, options, args.precision_recall)
    plot_label_areas(metrics, options, args.areas)
    plot_class_confusion(metrics, options, args.confusion)
    plot_calibration(metrics, options, args.calibration, observed="Share of images called right")
    slices = read_slices(**{name: getattr(args, name) for name in sources})
    plot_class_examples(read_table(args.per_image), slices, metrics, options, args.examples)
    logger.info("drew %d figures of %s", len(outputs), options.title)


if __name__ == "__main__":
    run(main)
