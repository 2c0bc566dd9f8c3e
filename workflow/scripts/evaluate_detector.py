"""Evaluate one detector: score threshold fitted on val, metrics with patient-clustered intervals, tables, curves."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import BOXES, IMAGES, SPLIT, read_table, write_table
from scanline.evaluate.detector import DetectorTables, evaluate_detector, fit_on_val, fit_volumes_on_val
from scanline.evaluate.detector_options import EvaluateDetectorOptions
from scanline.evaluate.detector_point import read_detector_point
from scanline.evaluate.scores import join_groups
from scanline.evaluate.volume_points import read_volume_points

INPUTS = ("detections", "predicted", "images", "boxes", "labels", "split")
FILES = ("metrics", "operating_point", "volume_operating_point")
ALIKE = ("image_level", "volume_level")  # as Parquet and as CSV
TABLES = ("curves", "box_outcomes", *ALIKE, "detections_csv", *(f"{name}_csv" for name in ALIKE))


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, *INPUTS, *FILES, *TABLES, "options")
    options = read_options(EvaluateDetectorOptions, args.options)
    tables = DetectorTables(
        detections=read_table(args.detections),
        predicted=read_table(args.predicted),
        images=join_groups(read_table(args.images, IMAGES), read_table(args.split, SPLIT)),
        boxes=read_table(args.boxes, BOXES),
        labels=read_table(args.labels),
        where=args.detections,
    )
    write_json(args.operating_point, fit_on_val(tables, options).as_json())
    write_json(args.volume_operating_point, fit_volumes_on_val(tables, options).as_json())
    point = read_detector_point(args.operating_point)
    result = evaluate_detector(tables, options, point, read_volume_points(args.volume_operating_point))
    made = (result.curves, result.boxes, result.image_level, result.volume_level)
    for name, table in zip(TABLES, (*made, result.detections, result.image_level, result.volume_level), strict=True):
        write_table(table, getattr(args, name))
    write_json(args.metrics, result.metrics)
    test, first = result.metrics["subsets"]["test"], options.boxes.headline
    logger.info("test: %d images, %s %s", test["images"], first, test["metrics"][first]["value"])


if __name__ == "__main__":
    run(main)
