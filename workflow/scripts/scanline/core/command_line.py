"""What the thin scripts share: named file arguments, `--options`, and one line for bad input."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from scanline.core.errors import InputError
from scanline.core.log import logger, start_logging
from scanline.core.versions import describe_environment

PRESENTATION_ONLY = True


def parse_arguments(description: str | None, *names: str) -> argparse.Namespace:
    """Parse the named arguments of a rule's script, all of them required but those that end in `*` or `?`.

    Then the log begins with what is installed.

    Args:
        description: The script's docstring, shown by `--help`.
        names: Argument names without dashes. A name that ends in `+` takes one or more paths, one that ends in
            `*` any number of them, one that ends in `?` takes a path or nothing (None); `options` (JSON), `name` and
            `code` are text; `seed`, `threads` and `gpus` (1 where it is left out) are whole numbers; every other name
            is a path.
    """
    parser = argparse.ArgumentParser(description=description)
    for name in names:
        flag = "--" + name.rstrip("+*?").replace("_", "-")
        if name.endswith("+"):
            parser.add_argument(flag, type=Path, nargs="+", required=True, metavar="FILE")
        elif name.endswith("*"):
            parser.add_argument(flag, type=Path, nargs="*", default=[], metavar="FILE")
        elif name.endswith("?"):
            parser.add_argument(flag, type=Path, nargs="?", metavar="FILE")
        elif name in {"options", "name", "code"}:
            parser.add_argument(flag, type=str, required=True, metavar="TEXT")
        elif name in {"seed", "threads"}:
            parser.add_argument(flag, type=int, required=True, metavar="NUMBER")
        elif name == "gpus":
            parser.add_argument(flag, type=int, default=1, metavar="NUMBER")
        else:
            parser.add_argument(flag, type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    installed = describe_environment()
    count = len(installed["distributions"])
    logger.info("environment %s: Python %s, %d distributions", installed["digest"], installed["python"], count)
    return arguments


def run(main: Callable[[], None]) -> None:
    """Run a script's main function; bad input and a full disk end in one line and exit status 1."""
    start_logging()
    try:
        main()
    except InputError as error:
        logger.error("%s", error)
        sys.exit(1)
    except OSError as error:
        if error.errno is None or (error.filename is None and error.errno not in {28, 122}):
            raise
        logger.error(
            "%s: %s. Free space or mend the permissions, then run the same command again.",
            error.filename or Path.cwd(),
            error.strerror,
        )
        sys.exit(1)
