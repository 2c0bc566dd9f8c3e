"""Draw what a detection set is like: one figure each, in the order of DETECTION_SET_FIGURES."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.figures.detection_set import plot_detection_set
from scanline.figures.options import RunFigureOptions


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "statistics", "figures+")
    options = read_options(RunFigureOptions, args.options)
    plot_detection_set(read_json(args.statistics), options, args.figures)
    logger.info("drew %d figures", len(args.figures))


if __name__ == "__main__":
    run(main)
