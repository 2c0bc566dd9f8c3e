"""Compare the same models on the leaking and the leak-free splits: what leakage is worth."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json, write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import read_table
from scanline.evaluate.leakage import compare_splits
from scanline.evaluate.options import CompareSplitsOptions


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "metrics*", "per_image*", "receipts*", "comparison", "options")
    options = read_options(CompareSplitsOptions, args.options)
    comparison = compare_splits(
        [read_json(path) for path in args.metrics],
        [read_table(path) for path in args.per_image],
        [read_json(path) for path in args.receipts],
        options,
    )
    write_json(args.comparison, comparison)
    logger.info("%d runs, %d pairs compared", len(comparison["rows"]), len(comparison["differences"]))


if __name__ == "__main__":
    run(main)
