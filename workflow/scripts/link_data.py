"""Link a folder of raw data into data/, where the study file looks for it; the folder itself is never changed."""

import argparse
from pathlib import Path

from scanline.acquire.link import link_folder
from scanline.acquire.options import LocalSource
from scanline.config import load_config
from scanline.core.command_line import run


def main() -> None:
    """Read the command line and link."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="study whose local source the data is for")
    parser.add_argument("--data", required=True, help="folder of the raw data; empty if data/ has it already")
    args = parser.parse_args()
    study = load_config({"studies": [args.study]}, Path()).studies[args.study]
    for source in study.sources.values():
        if isinstance(source.acquire, LocalSource):
            link_folder(args.data, source.acquire)


if __name__ == "__main__":
    run(main)
