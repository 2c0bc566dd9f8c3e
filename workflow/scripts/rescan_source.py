"""List a study's raw files anew after you changed them on purpose, and tell what has changed."""

import argparse
from pathlib import Path

from scanline.acquire.rescan import rescan
from scanline.config import check_known, load_config, read_yaml
from scanline.core.command_line import run


def main() -> None:
    """Read the command line, list the files of one source or of all, and print the changes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--source", default="", help="one source of the study; all of them if empty")
    parser.add_argument("--preset", default="", help="the preset that the study runs under; none if empty")
    args = parser.parse_args()
    values = {**read_yaml(Path("config/config.yaml")), "studies": [args.study], "named_studies": []}
    config = load_config(values | ({"preset": args.preset} if args.preset else {}), Path())
    sources = config.studies[args.study].sources
    if args.source:
        check_known("SOURCE", args.source, sources)
    for name in [args.source] if args.source else sources:
        manifest = Path(config.results) / args.study / "sources" / name / "files.parquet"
        changes = rescan(sources[name].acquire, manifest)
        print(f"{name}:", "; ".join(changes.lines()) or "nothing has changed")


if __name__ == "__main__":
    run(main)
