"""Scan one shard of a source's raw files: each is read once, hashed, decoded and measured."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import FILES, read_table, write_table
from scanline.curate.file_scan import SCAN, ScanShard, scan_shard


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "files", "scan", "threads", "options")
    options = read_options(ScanShard, args.options)
    scan = scan_shard(read_table(args.files, FILES), args.files, options, args.threads)
    write_table(scan, args.scan, SCAN)
    logger.info(
        "shard %d of %d: %d files, %d of them images, %d with content",
        options.shard + 1,
        options.shards,
        len(scan),
        scan["problem"].isna().sum(),
        scan["phash"].notna().sum(),
    )


if __name__ == "__main__":
    run(main)
