"""Write the page over all studies: one table of models a study, with links to their reports."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.report.options import OverviewOptions
from scanline.report.overview import describe_studies
from scanline.report.page import write_page


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "metrics*", "options", "report")
    options = read_options(OverviewOptions, args.options)
    values = describe_studies(options, [read_json(path) for path in args.metrics])
    write_page(args.report, "overview.html.j2", values)
    logger.info("wrote the overview of %d models", len(options.runs))


if __name__ == "__main__":
    run(main)
