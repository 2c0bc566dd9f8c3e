"""Weigh the classes and the training images of a split, from its training images alone."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import SPLIT, labels_schema, read_table, write_table
from scanline.curate.options import MergeSources
from scanline.split.label_weights import weigh_labels


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "labels", "split", "class_weights", "sampler_weights")
    labels = read_table(args.labels, labels_schema(read_options(MergeSources, args.options).labels))
    record, table = weigh_labels(labels, read_table(args.split, SPLIT))
    write_json(args.class_weights, record)
    write_table(table, args.sampler_weights)
    logger.info("%d training images, %d classes", record["images"], len(record["classes"]))


if __name__ == "__main__":
    run(main)
