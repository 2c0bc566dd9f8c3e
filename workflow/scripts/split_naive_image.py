"""Assign images one by one, patients ignored, and count what leaks."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import GROUPS, IMAGES, SPLIT, THUMBNAILS, read_table, write_table
from scanline.split.naive import assign_naive_image
from scanline.split.options import NaiveImageSplit
from scanline.split.verify import count_naive_leaks


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "images", "thumbnails", "labels", "groups", "split", "receipt", "options")
    options = read_options(NaiveImageSplit, args.options)
    images, groups = read_table(args.images, IMAGES), read_table(args.groups, GROUPS)
    split = assign_naive_image(groups, options)
    labels, thumbnails = read_table(args.labels), read_table(args.thumbnails, THUMBNAILS)
    receipt = count_naive_leaks(images, groups, labels, split, options.ratios, thumbnails)
    write_table(split, args.split, SPLIT)
    write_json(args.receipt, receipt)
    logger.info("%d test images share a group with train", receipt["leaks"]["group_id"]["test_images"])


if __name__ == "__main__":
    run(main)
