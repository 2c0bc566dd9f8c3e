"""Write the report of one study: a single self-contained HTML page."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import REJECTS, read_table
from scanline.report.options import ReportOptions
from scanline.report.page import write_page
from scanline.report.study import STUDY_FIGURES, StudyFiles, describe_study, figures_of_runs, named_figures

LISTS = ("receipts", "metrics", "runs", "environments", "set_statistics", "set_evidence", "set_metadata")
OPTIONAL = ("comparison", "tasks", "seeds", "detectors", "label_statistics", "label_leaks")
FIGURES = ("study_figures+", "run_figures*", "task_figure?", "label_figures*", "set_figures*")


def main() -> None:
    """Run the rule."""
    inputs = (*(f"{name}*" for name in LISTS), *(f"{name}?" for name in OPTIONAL), *FIGURES)
    args = parse_arguments(__doc__, "flow", "rejects", *inputs, "options", "report")
    options = read_options(ReportOptions, args.options)
    files = StudyFiles(
        flow=read_json(args.flow),
        rejects=read_table(args.rejects, REJECTS),
        **{name: [read_json(path) for path in getattr(args, name)] for name in LISTS},
        **{name: read_json(path) for name in OPTIONAL if (path := getattr(args, name))},
        study_figures=named_figures(STUDY_FIGURES, args.study_figures),
        run_figures=figures_of_runs([run.kind for run in options.runs], args.run_figures),
        task_figure=args.task_figure,
        label_figures=args.label_figures,
        set_figures=args.set_figures,
    )
    write_page(args.report, "study.html.j2", describe_study(options, files))
    logger.info("wrote the report of %s: %d models", options.study, len(options.runs))


if __name__ == "__main__":
    run(main)
