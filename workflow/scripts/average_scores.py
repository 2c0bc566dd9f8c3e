"""Average the probabilities and the class activation maps of an ensemble's members."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import read_table, write_table
from scanline.predict.activation_maps import read_stacked_maps, write_maps
from scanline.predict.ensemble import average_activation_maps, average_tables
from scanline.predict.ensemble_options import AverageOptions


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "member_scores+", "member_cams+", "scores", "cams")
    options = read_options(AverageOptions, args.options)
    scores = average_tables([read_table(path) for path in args.member_scores], options.members)
    cams = average_activation_maps([read_stacked_maps(path)[1] for path in args.member_cams], options.weights)
    write_table(scores, args.scores)
    write_maps(scores["image_id"].tolist(), cams, options.target, args.cams)
    logger.info("%d images, scores of %d members averaged", len(scores), len(options.members))


if __name__ == "__main__":
    run(main)
