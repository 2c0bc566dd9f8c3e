"""Decode and resize each image once, into one array that training reads from memory."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import IMAGES, read_table, write_table
from scanline.prepare.options import PixelOptions
from scanline.prepare.pixels import cache_pixels


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "images", "pixels", "index", "threads")
    size_px = read_options(PixelOptions, args.options).image_size_px
    index = cache_pixels(read_table(args.images, IMAGES), size_px, args.pixels, args.threads)
    write_table(index, args.index)
    logger.info("%d images cached at %d x %d px", len(index), size_px, size_px)


if __name__ == "__main__":
    run(main)
