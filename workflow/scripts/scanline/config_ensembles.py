"""Whether the ensembles of a study are named as such, and made of what its runs train."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from scanline.config_names import check_known
from scanline.core.errors import InputError
from scanline.core.run_names import ENSEMBLE_PREFIX, is_ensemble
from scanline.predict.ensemble_options import FusedRun

if TYPE_CHECKING:
    from scanline.config import Study


def check_ensembles(study: "Study", where: Path) -> None:
    """Check that names tell ensembles from networks, and that the members of each are trained wherever it is run.

    Args:
        study: With entries of `runs` that are known.
        where: The study file, for messages.

    Raises:
        InputError: For the first name, member or run that does not fit.
    """
    models, ensembles, runs = study.models, study.ensembles, study.runs
    for section, names in (("models", [*models]), ("ensembles", [*ensembles])):
        for name in names:
            if is_ensemble(name) != (section == "ensembles"):
                raise InputError(
                    f"{where}: {section}.{name}",
                    found=f"the name {name!r}",
                    expected=f"names that begin with {ENSEMBLE_PREFIX} for ensembles, and for nothing else",
                    next_step="Rename the entry: a path must show whether a network or an ensemble made it.",
                )
    for name, ensemble in ensembles.items():
        for member in ensemble.runs():
            _check_member(member.model, ensembles, models, f"{where}: ensembles.{name}.members")
    trained = {
        (run.split, task, model, seed)
        for run in runs
        for task in run.tasks
        for model in run.models
        for seed in run.seeds
    }
    for index, run in enumerate(runs):
        for name in (model for model in run.models if model in ensembles):
            for task in run.tasks:
                members = ensembles[name].runs()
                missing = [one for one in members if (run.split, task, one.model, one.seed) not in trained]
                if missing:
                    raise _not_run(f"{where}: runs.{index}.models", name, missing[0], run.split, task)


def _check_member(member: str, ensembles: Collection[str], models: Collection[str], where: str) -> None:
    if member in ensembles:
        raise InputError(
            where,
            found=f"{member}, an ensemble itself",
            expected="entries of models",
            next_step=f"Name the members of {member} in its place.",
        )
    check_known(where, member, models)


def _not_run(where: str, name: str, member: FusedRun, split: str, task: str) -> InputError:
    return InputError(
        where,
        found=f"{name}, whose member {member.name} is not run for {task} on {split}",
        expected="ensembles of what runs train on the same split and task",
        next_step=f"Add {member.model} with seed {member.seed} to runs, or take it out of ensembles.{name}.",
    )
