"""Assign whole groups to subsets by a protocol that parts none, and balance classes within subsets."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.tables import GROUPS, IMAGES, SPLIT, read_table, write_table
from scanline.split.options import read_leak_free_options
from scanline.split.protocols import assign_split


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "images", "labels", "groups", "split", "options")
    options = read_leak_free_options(args.options)
    images, groups = read_table(args.images, IMAGES), read_table(args.groups, GROUPS)
    split = assign_split(images, groups, read_table(args.labels), options)
    write_table(split, args.split, SPLIT)
    logger.info("assigned %s images", split["subset"].value_counts().to_dict())
    logger.info("dropped %s", split["dropped_by"].value_counts().to_dict() or "none")


if __name__ == "__main__":
    run(main)
