"""Join the shards of an offline augmentation to one training set, and check that only train was changed."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json, write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import BOXES, IMAGES, SPLIT, labels_schema, read_table, write_table
from scanline.prepare.augmented_set import MergeAugmentedOptions, SetTables, augment_set, link_set, verify_augmented


def main() -> None:
    """Run the rule."""
    tables = ("images", "boxes", "labels", "split")
    args = parse_arguments(
        __doc__, "options", *tables, "receipt", "copied_images+", "copied_boxes+", "folder",
        *(f"augmented_{name}" for name in (*tables, "receipt")),
    )  # fmt: skip
    options = read_options(MergeAugmentedOptions, args.options)
    schemas = {"images": IMAGES, "boxes": BOXES, "labels": labels_schema(options.labels), "split": SPLIT}
    before = SetTables(**{name: read_table(getattr(args, name), schemas[name]) for name in tables})
    copied = [
        [read_table(path, IMAGES) for path in args.copied_images],
        [read_table(p, BOXES) for p in args.copied_boxes],
    ]
    after = link_set(augment_set(before, *copied), args.folder, options.files)
    receipt = verify_augmented(after, options.factor, options.labels)
    write_json(args.augmented_receipt, {**read_json(args.receipt), "offline_augmentation": receipt})
    for name in tables:
        write_table(getattr(after, name), getattr(args, f"augmented_{name}"), schemas[name])
    logger.info("train: %(images)d images, %(copies)d of them copies", receipt["subsets"]["train"])


if __name__ == "__main__":
    run(main)
