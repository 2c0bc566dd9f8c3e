"""Fuse the boxes of an ensemble's members to one set an image, by weighted boxes fusion."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import read_table, write_table
from scanline.predict.ensemble import fuse_tables
from scanline.predict.ensemble_options import FuseDetectionsOptions


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "member_detections+", "member_predicted+", "detections", "predicted")
    options = read_options(FuseDetectionsOptions, args.options)
    found = [read_table(path) for path in args.member_detections]
    looked_at = [read_table(path) for path in args.member_predicted]
    detections = fuse_tables(found, looked_at, options)
    write_table(detections, args.detections)
    write_table(looked_at[0], args.predicted)
    logger.info("%d boxes of %d members became %d", sum(map(len, found)), len(found), len(detections))


if __name__ == "__main__":
    run(main)
