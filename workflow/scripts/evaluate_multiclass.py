"""Evaluate one classifier of classes that exclude another: metrics clustered by patient, or by group."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import BOXES, IMAGES, SPLIT, read_table, write_table
from scanline.evaluate.class_temperature import read_class_point
from scanline.evaluate.multiclass_classifier import evaluate_multiclass_classifier, fit_classes_on_val
from scanline.evaluate.multiclass_options import EvaluateMulticlassOptions
from scanline.evaluate.multilabel_classifier import read_label_maps
from scanline.evaluate.scores import join_groups

INPUTS = ("scores", "images", "boxes", "split", "cams")
OUTPUTS = ("metrics", "operating_point", "per_image", "per_image_csv", "curves")


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, *INPUTS, *OUTPUTS, "options")
    options = read_options(EvaluateMulticlassOptions, args.options)
    scores, boxes = read_table(args.scores), read_table(args.boxes, BOXES)
    images = join_groups(read_table(args.images, IMAGES), read_table(args.split, SPLIT))
    write_json(args.operating_point, fit_classes_on_val(scores, options, args.scores).as_json())
    point = read_class_point(args.operating_point)
    maps = read_label_maps(args.cams, options.targets)
    result = evaluate_multiclass_classifier(scores, images, boxes, maps, options, point, args.scores)
    write_table(result.per_image, args.per_image)
    write_table(result.per_image, args.per_image_csv)
    write_table(result.curves, args.curves)
    write_json(args.metrics, result.metrics)
    test = result.metrics["subsets"]["test"]
    shown = {"accuracy": test["metrics"]["accuracy"], "macro F1": test["averages"]["macro"]["f1"]}
    values = ", ".join(
        f"{name} {'undefined' if metric['value'] is None else format(metric['value'], '.4f')}"
        for name, metric in shown.items()
    )
    logger.info("test: %d images in %d clusters, %s", test["images"], test["clusters"], values)


if __name__ == "__main__":
    run(main)
