"""Draw the figures of one classifier of several labels, from the loss curve to example slices."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import read_table
from scanline.figures.examples import read_slices
from scanline.figures.multilabel import (
    plot_errors_together,
    plot_label_areas,
    plot_label_calibration,
    plot_label_confusion,
    plot_label_curves,
)
from scanline.figures.multilabel_examples import plot_label_examples
from scanline.figures.options import RunFigureOptions
from scanline.figures.training import plot_loss, plot_trainings


def main() -> None:
    """Run the rule."""
    sources = ("pixels", "index", "cams", "images", "boxes")
    inputs = ("history+", "run+", "metrics", "curves", "per_image", *sources)
    outputs = ["loss", "roc", "precision_recall", "areas", "confusion", "calibration", "errors_together", "examples"]
    args = parse_arguments(__doc__, *inputs, "options", *outputs)
    options = read_options(RunFigureOptions, args.options)
    metrics, curves = read_json(args.metrics), read_table(args.curves)
    plot_trainings(args.history, args.run, options, args.loss, plot_loss)
    plot_label_curves("roc", curves, metrics, options, args.roc)
    plot_label_curves("precision_recall", curves, metrics, options, args.precision_recall)
    plot_label_areas(metrics, options, args.areas)
    plot_label_confusion(metrics, options, args.confusion)
    plot_label_calibration(metrics, options, args.calibration)
    plot_errors_together(metrics, options, args.errors_together)
    slices = read_slices(**{name: getattr(args, name) for name in sources})
    plot_label_examples(read_table(args.per_image), slices, metrics, options, args.examples)
    logger.info("drew %d figures of %s", len(outputs), options.title)


if __name__ == "__main__":
    run(main)
