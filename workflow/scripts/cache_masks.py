"""Decode, resize and threshold each mask once, into one array in the rows of the pixel cache."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import IMAGES, read_table
from scanline.prepare.masks import MaskOptions, cache_masks


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "images", "labels", "index", "masks")
    options = read_options(MaskOptions, args.options)
    images, labels = read_table(args.images, IMAGES), read_table(args.labels)
    counts = cache_masks(images, labels, read_table(args.index), options, args.masks)
    logger.info(
        "masks of %s at %d px: %d images with lesion, %d without, %d unknown",
        options.target,
        options.image_size_px,
        counts.lesion,
        counts.none,
        counts.unknown,
    )
    if counts.lost:
        logger.warning("%d images labelled positive have no lesion pixel left at this size", counts.lost)


if __name__ == "__main__":
    run(main)
