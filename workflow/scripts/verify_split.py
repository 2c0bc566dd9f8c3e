"""The gate of a grouped split: stop with the pairs listed when anything leaks, else write the receipt."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import GROUPS, IMAGES, SPLIT, read_table
from scanline.split.options import GroupedSplit
from scanline.split.verify import verify_split


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "images", "labels", "groups", "split", "receipt", "options")
    receipt = verify_split(
        read_table(args.images, IMAGES),
        read_table(args.groups, GROUPS),
        read_table(args.labels),
        read_table(args.split, SPLIT),
        read_options(GroupedSplit, args.options).ratios,
    )
    write_json(args.receipt, receipt)
    shares = {name: round(counts["share"], 4) for name, counts in receipt["subsets"].items()}
    logger.info("nothing leaks; shares %s", shares)


if __name__ == "__main__":
    run(main)
