"""Evaluate one classifier of several labels: thresholds fitted on val, metrics with patient-clustered intervals."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import BOXES, IMAGES, SPLIT, read_table, write_table
from scanline.evaluate.multilabel_classifier import (
    evaluate_multilabel_classifier,
    fit_labels_on_val,
    points_as_json,
    read_label_maps,
    read_operating_points,
)
from scanline.evaluate.multilabel_options import EvaluateMultilabelOptions
from scanline.evaluate.scores import join_groups

INPUTS = ("scores", "images", "boxes", "split", "cams")
OUTPUTS = ("metrics", "operating_point", "per_image", "per_image_csv", "curves")


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, *INPUTS, *OUTPUTS, "options")
    options = read_options(EvaluateMultilabelOptions, args.options)
    scores, boxes = read_table(args.scores), read_table(args.boxes, BOXES)
    images = join_groups(read_table(args.images, IMAGES), read_table(args.split, SPLIT))
    write_json(args.operating_point, points_as_json(fit_labels_on_val(scores, options, args.scores)))
    points = read_operating_points(args.operating_point)
    maps = read_label_maps(args.cams, options.targets)
    result = evaluate_multilabel_classifier(scores, images, boxes, maps, options, points, args.scores)
    write_table(result.per_image, args.per_image)
    write_table(result.per_image, args.per_image_csv)
    write_table(result.curves, args.curves)
    write_json(args.metrics, result.metrics)
    test = result.metrics["subsets"]["test"]
    shown = (test["averages"]["macro"]["auroc"]["value"], test["metrics"]["exact_match"]["value"])
    values = ["undefined" if value is None else f"{value:.4f}" for value in shown]
    message = "test: %d images of %d patients, mean AUROC %s, exact match %s"
    logger.info(message, test["images"], test["patients"], *values)


if __name__ == "__main__":
    run(main)
