"""Make the changed copies of one shard of a split's training images, with their boxes."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import BOXES, IMAGES, SPLIT, read_table, write_table
from scanline.prepare.offline_augmentation import augment_shard, originals_of_shard
from scanline.prepare.options import AugmentShard


def main() -> None:
    """Run the rule."""
    names = ("images", "boxes", "split", "folder", "augmented_images", "augmented_boxes")
    args = parse_arguments(__doc__, "options", "threads", *names)
    options = read_options(AugmentShard, args.options)
    originals = originals_of_shard(
        read_table(args.images, IMAGES),
        read_table(args.boxes, BOXES),
        read_table(args.split, SPLIT),
        options.shard,
        options.augmentation.shards,
    )
    images, boxes = augment_shard(originals, options.augmentation, args.folder, args.threads)
    write_table(images, args.augmented_images, IMAGES)
    write_table(boxes, args.augmented_boxes, BOXES)
    logger.info("%d copies of %d images, with %d boxes", len(images), len(originals), len(boxes))


if __name__ == "__main__":
    run(main)
