"""Draw what the labels of a study are like: one figure each, in the order of LABEL_FIGURES."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.figures.label_analysis import LabelFigureOptions, plot_label_analysis


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "statistics", "leaks", "figures+")
    options = read_options(LabelFigureOptions, args.options)
    plot_label_analysis(read_json(args.statistics), read_json(args.leaks), options, args.figures)
    logger.info("drew %d figures", len(args.figures))


if __name__ == "__main__":
    run(main)
