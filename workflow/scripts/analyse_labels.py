"""Analyse the labels of a study: their statistics, and what each split leaks by label."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import IMAGES, SPLIT, labels_schema, read_table
from scanline.curate.label_statistics import describe_labels
from scanline.split.label_leaks import LabelAnalysisOptions, count_label_leaks


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "images", "labels", "splits+", "statistics", "leaks")
    options = read_options(LabelAnalysisOptions, args.options)
    images = read_table(args.images, IMAGES)
    labels = read_table(args.labels, labels_schema(options.labels))
    statistics = describe_labels(images, labels)
    write_json(args.statistics, statistics)
    leaks = {
        name: count_label_leaks(images, labels, read_table(path, SPLIT))
        for name, path in zip(options.splits, args.splits, strict=True)
    }
    write_json(args.leaks, leaks)
    logger.info("%d images, %d labels, %d splits", statistics["images"], statistics["outputs"], len(leaks))


if __name__ == "__main__":
    run(main)
