"""Curate one source: its raw files to the images, boxes, labels, rejects and thumbnails tables."""

from scanline.core import tables
from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.curate.file_scan import SCAN, join_shards
from scanline.curate.options import CurateSource
from scanline.curate.scan import curate_source

SCHEMAS = {
    "images": tables.IMAGES,
    "boxes": tables.BOXES,
    "rejects": tables.REJECTS,
    "thumbnails": tables.THUMBNAILS,
    "headers": tables.HEADERS,
}


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "name", "files", "scans+", *SCHEMAS, "labels", "options")
    options = read_options(CurateSource, args.options)
    files = tables.read_table(args.files, tables.FILES)
    scan = join_shards(tables.read_table(path, SCAN) for path in args.scans)
    curated = curate_source(args.name, files, args.files, options, scan)
    for table, schema in {**SCHEMAS, "labels": tables.labels_schema(options.labels)}.items():
        tables.write_table(getattr(curated, table), getattr(args, table), schema)
    actions = curated.rejects["action"].value_counts()
    logger.info(
        "%s: %d files, %d images of %d patients, %d boxes; %s",
        args.name,
        len(files),
        len(curated.images),
        curated.images["patient_id"].nunique(),
        len(curated.boxes),
        ", ".join(f"{actions.get(name, 0)} {name}" for name in ("refused", "repaired", "noted")),
    )


if __name__ == "__main__":
    run(main)
