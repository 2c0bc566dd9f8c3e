"""Evaluate one classifier: threshold fitted on val, metrics with patient-clustered intervals, curves."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import BOXES, IMAGES, SPLIT, read_table, write_table
from scanline.evaluate.activation_maps import read_maps
from scanline.evaluate.classifier import evaluate_classifier, fit_on_val
from scanline.evaluate.operating_point import read_operating_point
from scanline.evaluate.options import EvaluateClassifierOptions
from scanline.evaluate.scores import join_groups

INPUTS = ("scores", "images", "boxes", "split", "cams")
OUTPUTS = ("metrics", "operating_point", "per_image", "per_image_csv", "curves")


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, *INPUTS, *OUTPUTS, "options")
    options = read_options(EvaluateClassifierOptions, args.options)
    scores, boxes = read_table(args.scores), read_table(args.boxes, BOXES)
    images = join_groups(read_table(args.images, IMAGES), read_table(args.split, SPLIT))
    write_json(args.operating_point, fit_on_val(scores, options, args.scores).as_json())
    point = read_operating_point(args.operating_point)
    result = evaluate_classifier(scores, images, boxes, read_maps(args.cams), options, point, args.scores)
    write_table(result.per_image, args.per_image)
    write_table(result.per_image, args.per_image_csv)
    write_table(result.curves, args.curves)
    write_json(args.metrics, result.metrics)
    test = result.metrics["subsets"]["test"]
    shown = {name: test["metrics"][name]["value"] for name in ("accuracy", "f1", "auroc")}
    values = ", ".join(f"{name} {'undefined' if value is None else f'{value:.4f}'}" for name, value in shown.items())
    logger.info("test: %d images of %d patients, %s", test["images"], test["patients"], values)


if __name__ == "__main__":
    run(main)
