"""Set ways to train a detector side by side on the test images that they share."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import BOXES, IMAGES, read_table, write_table
from scanline.evaluate.detector_comparison import DetectorFiles, StudyTables, compare_detectors
from scanline.evaluate.detector_comparison_options import CompareDetectorsOptions
from scanline.evaluate.detector_point import read_detector_point
from scanline.evaluate.volume_points import read_volume_points


def main() -> None:
    """Run the rule."""
    of_runs = ("detections+", "predicted+", "points+", "volume_points+")
    args = parse_arguments(__doc__, "options", *of_runs, "images", "boxes", "labels", "comparison", "table")
    options = read_options(CompareDetectorsOptions, args.options)
    files = [
        DetectorFiles(
            run=one,
            detections=read_table(detections),
            predicted=read_table(predicted),
            point=read_detector_point(point),
            volume_points=read_volume_points(volume_point),
        )
        for one, detections, predicted, point, volume_point in zip(
            options.runs, args.detections, args.predicted, args.points, args.volume_points, strict=True
        )
    ]
    tables = StudyTables(read_table(args.images, IMAGES), read_table(args.boxes, BOXES), read_table(args.labels))
    summary, table = compare_detectors(files, tables, options)
    write_json(args.comparison, summary)
    write_table(table, args.table)
    logger.info("%d runs, %d comparisons", len(files), len(summary["comparisons"]))


if __name__ == "__main__":
    run(main)
