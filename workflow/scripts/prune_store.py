"""List the trained models that no result names any more; with --remove, delete them."""

import argparse
import shutil
from pathlib import Path

from scanline.core.command_line import run
from scanline.core.log import logger
from scanline.train.model_store import unneeded_keys


def main() -> None:
    """Read the command line, list, and remove if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--remove", action="store_true")
    args = parser.parse_args()
    keys = unneeded_keys(args.store, args.results)
    for key in keys:
        print(args.store / key)
        if args.remove:
            shutil.rmtree(args.store / key)
    logger.info("%d models that no result names%s", len(keys), ", removed" if args.remove else "")


if __name__ == "__main__":
    run(main)
