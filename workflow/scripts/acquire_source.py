"""Acquire one source: bring its raw files into place and write their manifest."""

from scanline.acquire.methods import acquire
from scanline.acquire.options import read_acquire_options
from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.tables import FILES, write_table


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "name", "files", "options")
    options = read_acquire_options(args.options)
    files = acquire(options)
    write_table(files, args.files, FILES)
    size = files["bytes"].sum() / 1e6
    logger.info("%s: %d files, %.1f MB, in %s (%s)", args.name, len(files), size, options.path, options.method)


if __name__ == "__main__":
    run(main)
