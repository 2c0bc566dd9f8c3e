"""Evaluate one segmentation network: threshold fitted on val, masks measured with patient-clustered intervals."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import IMAGES, read_table, write_table
from scanline.evaluate.segmenter import evaluate_segmenter, fit_on_val, read_mask_threshold, read_truths
from scanline.evaluate.segmenter_options import EvaluateSegmenterOptions
from scanline.predict.probability_maps import ProbabilityMaps

FILES = "maps table masks index images labels metrics operating_point per_image per_image_csv"


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, *FILES.split(), "options")
    options = read_options(EvaluateSegmenterOptions, args.options)
    maps, truths = ProbabilityMaps(args.maps, args.table), read_truths(args.masks, args.index)
    write_json(args.operating_point, fit_on_val(maps.table, maps, truths, options, args.table).as_json())
    result = evaluate_segmenter(
        maps.table,
        maps,
        truths,
        read_table(args.images, IMAGES),
        read_table(args.labels),
        options,
        read_mask_threshold(args.operating_point),
        args.table,
    )
    write_table(result.per_image, args.per_image)
    write_table(result.per_image, args.per_image_csv)
    write_json(args.metrics, result.metrics)
    test = result.metrics["subsets"]["test"]
    dice = test["pooled"]["metrics"]["dice"]["value"]
    known = test["images"]["total"] - test["images"]["unknown"]
    logger.info(
        "test: %d images of known mask, Dice of all pixels %s", known, "undefined" if dice is None else f"{dice:.4f}"
    )


if __name__ == "__main__":
    run(main)
