"""Evaluate one detector: score threshold fitted on val, metrics with patient-clustered intervals, tables, curves."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import BOXES, IMAGES, read_table, write_table
from scanline.evaluate.detector import DetectorTables, evaluate_detector, fit_on_val
from scanline.evaluate.detector_options import EvaluateDetectorOptions
from scanline.evaluate.detector_point import read_detector_point

INPUTS = ("detections", "predicted", "images", "boxes", "labels")
OUTPUTS = ("metrics", "operating_point", "curves", "box_outcomes", "image_level", "detections_csv", "image_level_csv")


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, *INPUTS, *OUTPUTS, "options")
    options = read_options(EvaluateDetectorOptions, args.options)
    tables = DetectorTables(
        detections=read_table(args.detections),
        predicted=read_table(args.predicted),
        images=read_table(args.images, IMAGES),
        boxes=read_table(args.boxes, BOXES),
        labels=read_table(args.labels),
        where=args.detections,
    )
    write_json(args.operating_point, fit_on_val(tables, options).as_json())
    result = evaluate_detector(tables, options, read_detector_point(args.operating_point))
    write_table(result.curves, args.curves)
    write_table(result.boxes, args.box_outcomes)
    write_table(result.image_level, args.image_level)
    write_table(result.detections, args.detections_csv)
    write_table(result.image_level, args.image_level_csv)
    write_json(args.metrics, result.metrics)
    test = result.metrics["subsets"]["test"]
    image = test["yes_or_no"]["image"]["any_class"]["metrics"]
    values = [test["metrics"]["ap_50"], test["metrics"]["ap_50_95"], image["f1"]]
    shown = ", ".join("undefined" if one["value"] is None else f"{one['value']:.4f}" for one in values)
    logger.info("test: %d images, AP50, AP50-95, F1 of images: %s", test["images"], shown)


if __name__ == "__main__":
    run(main)
