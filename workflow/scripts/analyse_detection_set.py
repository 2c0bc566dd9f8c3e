"""Count a detection set: images and boxes by stage, subset, source and class, sizes, places, earlier versions."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json, write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import SPLIT, read_table
from scanline.prepare.detection_set import read_set
from scanline.prepare.set_metadata import describe_dataset
from scanline.prepare.set_statistics import StatisticsOptions, describe_set


def main() -> None:
    """Run the rule."""
    tables, augmented = ("images", "boxes", "labels", "split"), "augmented_"
    args = parse_arguments(
        __doc__, "options", *tables, *(f"{augmented}{name}?" for name in tables), "previous*", "statistics", "metadata"
    )
    options = read_options(StatisticsOptions, args.options)
    before = [getattr(args, name) for name in tables]
    after = [getattr(args, f"{augmented}{name}") for name in tables]
    stages = {
        "curated": read_set(*before, options, with_dropped=True),
        "balanced": read_set(*before, options),
        **({"augmented": read_set(*after, options)} if all(after) else {}),
    }
    previous = dict(zip(options.previous, map(read_json, args.previous), strict=True))
    statistics = describe_set(stages, previous)
    write_json(args.statistics, statistics)
    split = read_table(args.split, SPLIT)
    write_json(args.metadata, describe_dataset(stages["balanced"], stages["curated"], split))
    logger.info("images %s, boxes %s", statistics["images"], statistics["boxes"])


if __name__ == "__main__":
    run(main)
