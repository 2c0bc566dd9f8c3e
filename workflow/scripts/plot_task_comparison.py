"""Draw the tasks side by side: AUROC, sensitivity and specificity of every compared run."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.figures.task_comparison import TaskComparisonFigureOptions, plot_task_comparison


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "comparison", "figure")
    options = read_options(TaskComparisonFigureOptions, args.options)
    comparison = read_json(args.comparison)
    plot_task_comparison(comparison, options, args.figure)
    logger.info("drew %d comparisons", len(comparison["comparisons"]))


if __name__ == "__main__":
    run(main)
