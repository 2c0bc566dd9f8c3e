"""Merge the tables of all sources into the study's, and count the flow of files."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import (
    BOXES,
    FILES,
    HEADERS,
    IMAGES,
    REJECTS,
    THUMBNAILS,
    labels_schema,
    read_table,
    write_table,
)
from scanline.curate.merge import count_flow, merge_sources
from scanline.curate.options import MergeSources
from scanline.curate.scan import Curated


def main() -> None:
    """Run the rule."""
    tables = ("images", "boxes", "labels", "rejects", "thumbnails", "headers")
    names = [f"{name}+" for name in ("files", *tables)] + [f"merged_{name}" for name in tables]
    args = parse_arguments(__doc__, *names, "flow", "reading", "options")
    options = read_options(MergeSources, args.options)
    labels = options.labels
    schemas = dict(zip(tables, (IMAGES, BOXES, labels_schema(labels), REJECTS, THUMBNAILS, HEADERS), strict=True))
    sources, flows = [], {}
    for manifest, *paths in zip(args.files, *(getattr(args, name) for name in tables), strict=True):
        source = Curated(*(read_table(path, schemas[name]) for name, path in zip(tables, paths, strict=True)))
        flows[source.images["source"].iloc[0]] = count_flow(read_table(manifest, FILES), source, manifest)
        sources.append(source)
    merged = merge_sources(sources, labels)
    for name in tables:
        write_table(getattr(merged, name), getattr(args, f"merged_{name}"), schemas[name])
    write_json(args.flow, {"sources": flows})
    write_json(args.reading, {name: reading.model_dump(mode="json") for name, reading in options.reading.items()})
    logger.info("%d sources, %d images, %d boxes", len(sources), len(merged.images), len(merged.boxes))


if __name__ == "__main__":
    run(main)
