"""The gate of a split: stop with the pairs listed when anything leaks, else write the receipt."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.tables import GROUPS, IMAGES, SPLIT, THUMBNAILS, read_table
from scanline.split.options import read_leak_free_options, target_ratios
from scanline.split.receipt import describe_balance
from scanline.split.verify import verify_split


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "images", "thumbnails", "labels", "groups", "split", "receipt", "options")
    options = read_leak_free_options(args.options)
    images, labels = read_table(args.images, IMAGES), read_table(args.labels)
    split = read_table(args.split, SPLIT)
    receipt = verify_split(
        images,
        read_table(args.groups, GROUPS),
        labels,
        split,
        target_ratios(options),
        read_table(args.thumbnails, THUMBNAILS),
        options.protocol,
    )
    write_json(args.receipt, {**receipt, **describe_balance(images, labels, split, options)})
    shares = {name: round(counts["share"], 4) for name, counts in receipt["subsets"].items()}
    logger.info("nothing leaks; shares %s", shares)


if __name__ == "__main__":
    run(main)
