"""Find the groups of images that must never be parted."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.tables import GROUPS, IMAGES, THUMBNAILS, read_table, write_table
from scanline.split.groups import find_groups


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "images", "thumbnails", "groups")
    images = read_table(args.images, IMAGES)
    groups = find_groups(images, read_table(args.thumbnails, THUMBNAILS))
    write_table(groups, args.groups, GROUPS)
    logger.info(
        "%d images of %d patients in %d groups",
        len(images),
        images["patient_id"].nunique(),
        groups["group_id"].nunique(),
    )


if __name__ == "__main__":
    run(main)
