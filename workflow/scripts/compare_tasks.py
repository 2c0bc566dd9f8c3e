"""Compare tasks of several kinds by one question of yes or no, on the same test images."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import SPLIT, read_table, write_table
from scanline.evaluate.answers import read_run_files
from scanline.evaluate.task_comparison import compare_tasks
from scanline.evaluate.task_comparison_options import CompareTasksOptions


def main() -> None:
    """Run the rule."""
    inputs = ("images+", "points+", "detections*", "splits+", "labels")
    args = parse_arguments(__doc__, "options", *inputs, "comparison", "table", "answers")
    options = read_options(CompareTasksOptions, args.options)
    files = read_run_files(options.runs, args.images, args.points, args.detections)
    paths = dict(zip([one.split for one in options.runs], args.splits, strict=True))
    splits = {name: read_table(path, SPLIT) for name, path in paths.items()}
    result = compare_tasks(files, splits, read_table(args.labels), options)
    write_json(args.comparison, result.summary)
    write_table(result.table, args.table)
    write_table(result.answers, args.answers)
    logger.info("%d runs, %d comparisons", len(files), len(result.summary["comparisons"]))


if __name__ == "__main__":
    run(main)
