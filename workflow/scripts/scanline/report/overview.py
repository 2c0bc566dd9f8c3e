"""The page over all studies."""

from collections.abc import Mapping, Sequence
from typing import Any

from scanline.core.errors import InputError
from scanline.report.headline import headline_tables
from scanline.report.options import OverviewOptions
from scanline.report.words import name_interval

LINK = "{study}/report.html#{anchor}"


def describe_studies(options: OverviewOptions, metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All values of the template `overview.html.j2`.

    Args:
        options: The models.
        metrics: metrics.json of each, in the same order.

    Raises:
        InputError: If there is not one metrics file for each model.
    """
    if len(metrics) != len(options.runs):
        raise InputError(
            "--metrics",
            found=f"{len(metrics)} files",
            expected=f"{len(options.runs)}, one for each entry of the options",
            next_step="Give the files in the options' order.",
        )
    studies = []
    for name in dict.fromkeys(run.study for run in options.runs):
        places = [place for place, run in enumerate(options.runs) if run.study == name]
        runs, own = [options.runs[place] for place in places], [metrics[place] for place in places]
        # A grouped split passed its gate before anything was trained on it; a naive one is there to leak.
        leak_free = {run.split: run.protocol != "naive_image" for run in runs}
        studies.append(
            {
                "name": name,
                "title": runs[0].title,
                "phantom": runs[0].phantom,
                "interval_name": " or ".join(dict.fromkeys(name_interval(m["interval"]) for m in own)),
                "headlines": headline_tables(runs, own, leak_free=leak_free, link=LINK),
            }
        )
    return {"studies": studies, "n_models": len(options.runs)}
