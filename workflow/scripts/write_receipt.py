"""Write the page of a split's receipt: a single self-contained HTML page."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import THUMBNAILS, read_table
from scanline.report.options import ReceiptOptions
from scanline.report.page import write_page
from scanline.report.receipt import describe_receipt


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "receipt", "thumbnails", "page", "options")
    options = read_options(ReceiptOptions, args.options)
    values = describe_receipt(options, read_json(args.receipt), read_table(args.thumbnails, THUMBNAILS))
    write_page(args.page, "receipt.html.j2", values)
    logger.info("wrote the receipt of %s", options.split)


if __name__ == "__main__":
    run(main)
