"""Write the report of one study: a single self-contained HTML page."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.core.tables import REJECTS, read_table
from scanline.report.options import ReportOptions
from scanline.report.page import write_page
from scanline.report.study import STUDY_FIGURES, StudyFiles, describe_study, figures_of_runs, named_figures


def main() -> None:
    """Run the rule."""
    lists = ("receipts+", "metrics*", "runs*", "study_figures+", "run_figures*", "label_figures*", "environments*")
    sets = ("set_statistics*", "set_evidence*", "set_figures*")
    optional = ("comparison?", "tasks?", "task_figure?", "detectors?", "label_statistics?", "label_leaks?")
    args = parse_arguments(__doc__, "flow", "rejects", *optional, *lists, *sets, "options", "report")
    options = read_options(ReportOptions, args.options)
    files = StudyFiles(
        flow=read_json(args.flow),
        rejects=read_table(args.rejects, REJECTS),
        receipts=[read_json(path) for path in args.receipts],
        metrics=[read_json(path) for path in args.metrics],
        runs=[read_json(path) for path in args.runs],
        comparison=read_json(args.comparison) if args.comparison else None,
        study_figures=named_figures(STUDY_FIGURES, args.study_figures),
        run_figures=figures_of_runs([run.kind for run in options.runs], args.run_figures),
        tasks=read_json(args.tasks) if args.tasks else None,
        task_figure=args.task_figure,
        detectors=read_json(args.detectors) if args.detectors else None,
        label_statistics=read_json(args.label_statistics) if args.label_statistics else None,
        label_leaks=read_json(args.label_leaks) if args.label_leaks else None,
        label_figures=args.label_figures,
        environments=[read_json(path) for path in args.environments],
        set_statistics=[read_json(path) for path in args.set_statistics],
        set_evidence=[read_json(path) for path in args.set_evidence],
        set_figures=args.set_figures,
    )
    write_page(args.report, "study.html.j2", describe_study(options, files))
    logger.info("wrote the report of %s: %d models", options.study, len(options.runs))


if __name__ == "__main__":
    run(main)
