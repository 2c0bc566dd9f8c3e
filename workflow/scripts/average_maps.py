"""Average the probability maps of an ensemble's members."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import write_table
from scanline.predict.ensemble import average_probability_maps, require_same
from scanline.predict.ensemble_options import AverageOptions
from scanline.predict.probability_maps import ProbabilityMaps, write_maps


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "member_maps+", "member_tables+", "maps", "table")
    options = read_options(AverageOptions, args.options)
    maps = [ProbabilityMaps(*paths) for paths in zip(args.member_maps, args.member_tables, strict=True)]
    require_same([one.table for one in maps], options.members, ["image_id", "subset", "row"])
    write_maps(args.maps, average_probability_maps(maps, options.weights))
    write_table(maps[0].table, args.table)
    logger.info("%d images, maps of %d members averaged", len(maps[0].table), len(maps))


if __name__ == "__main__":
    run(main)
