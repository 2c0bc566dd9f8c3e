"""Add the copies of an augmented training set to the pixel cache: what is cached already is not decoded again."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.tables import IMAGES, read_table, write_table
from scanline.prepare.pixels import extend_cache


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "images", "pixels", "index", "larger_pixels", "larger_index", "threads")
    before = read_table(args.index)
    images = read_table(args.images, IMAGES)
    index = extend_cache(args.pixels, before, images, args.larger_pixels, args.threads)
    write_table(index, args.larger_index)
    logger.info("%d images cached, %d of them copies", len(index), len(index) - len(before))


if __name__ == "__main__":
    run(main)
