"""Tell the spread of each network over its seeds, and set each ensemble against the best of its members."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json, write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import BOXES, IMAGES, read_table, write_table
from scanline.evaluate.seeds import Curated, SeedFiles, compare_seeds, table_of
from scanline.evaluate.seeds_options import CompareSeedsOptions


def main() -> None:
    """Run the rule."""
    inputs = ("metrics+", "answers+", "detections*", "images", "boxes", "labels")
    args = parse_arguments(__doc__, "options", *inputs, "comparison", "table")
    options = read_options(CompareSeedsOptions, args.options)
    detections = iter(args.detections)
    files = [
        SeedFiles(
            one,
            read_json(metrics),
            read_table(answers),
            read_table(next(detections)) if one.kind == "detect" else None,
        )
        for one, metrics, answers in zip(options.runs, args.metrics, args.answers, strict=True)
    ]
    curated = Curated(read_table(args.images, IMAGES), read_table(args.boxes, BOXES), read_table(args.labels))
    found = compare_seeds(files, curated, options)
    write_json(args.comparison, found)
    write_table(table_of(found["comparisons"]), args.table)
    logger.info("%d runs, %d comparisons", len(files), len(found["comparisons"]))


if __name__ == "__main__":
    run(main)
