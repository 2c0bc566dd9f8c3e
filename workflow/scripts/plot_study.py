"""Draw the figures of a study: flow of files, class balance, subset balance, price of leakage."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import IMAGES, labels_schema, read_table
from scanline.figures.leakage import plot_leakage
from scanline.figures.options import StudyFigureOptions
from scanline.figures.study import count_flow, main_split, plot_class_balance, plot_flow, plot_subset_balance


def main() -> None:
    """Run the rule."""
    inputs = ("flow", "images", "labels", "receipts+", "comparison?")
    args = parse_arguments(__doc__, *inputs, "options", "flow_figure", "balance", "subsets", "leakage_figure")
    options = read_options(StudyFigureOptions, args.options)
    receipts = [read_json(path) for path in args.receipts]
    shown = main_split(receipts)
    flow = count_flow(read_json(args.flow), len(read_table(args.images, IMAGES)), receipts[shown])
    plot_flow(flow, options.splits[shown], options, args.flow_figure)
    labels = read_table(args.labels)
    labels = read_table(args.labels, labels_schema([name for name in labels.columns if name != "image_id"]))
    plot_class_balance(labels, options, args.balance)
    plot_subset_balance(receipts, options, args.subsets)
    comparison = read_json(args.comparison) if args.comparison else None
    plot_leakage(comparison, options, args.leakage_figure)
    logger.info("drew 4 figures of %d splits", len(receipts))


if __name__ == "__main__":
    run(main)
