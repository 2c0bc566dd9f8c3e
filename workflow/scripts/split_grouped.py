"""Assign whole groups to train, val and test, sizes and prevalences close to target."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import GROUPS, IMAGES, SPLIT, read_table, write_table
from scanline.split.assign import assign_grouped, check_same_images
from scanline.split.options import GroupedSplit


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "images", "labels", "groups", "split", "options")
    options = read_options(GroupedSplit, args.options)
    groups = read_table(args.groups, GROUPS)
    check_same_images({"images table": read_table(args.images, IMAGES), "groups table": groups})
    split = assign_grouped(groups, read_table(args.labels), options)
    write_table(split, args.split, SPLIT)
    logger.info("assigned %s images", split["subset"].value_counts().to_dict())


if __name__ == "__main__":
    run(main)
