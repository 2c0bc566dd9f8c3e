"""One training job: check its inputs, find or make its model in the store, link the outputs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from scanline.core.errors import InputError
from scanline.core.files import read_json
from scanline.core.log import logger
from scanline.core.options import Options
from scanline.core.versions import describe_environment, git_commit, package_versions
from scanline.train.device import be_deterministic, be_fast, choose_device, describe_device, note_nondeterministic
from scanline.train.model_store import finish, is_finished, link_outputs, store_key, working_folder
from scanline.train.options import ModelOptions, TrainingOptions
from scanline.train.processes import (
    count_processes,
    current_processes,
    fit_in_processes,
    folder_of_process,
    joined,
    tell_facts,
)

Fit = Callable[[Path, torch.device], dict[str, Any]]


def train_in_store(
    task: Options,
    model: ModelOptions,
    training: TrainingOptions,
    fit: Fit,
    *,
    inputs: Mapping[str, Path],
    receipt: Path,
    weights: Path | None,
    store: Path,
    code: str,
    seed: int,
    threads: int,
    outputs: Mapping[str, Path],
    gpus: int = 1,
    packages: Sequence[str] = ("torch", "torchvision", "numpy", "pandas"),
) -> None:
    """Train a network unless the store has it, and link it to the outputs.

    Args:
        task: What to predict.
        model: The network.
        training: How much and how.
        fit: Trains in the store's folder on the device, writes model.pt and history.csv there, resumes what it finds
            half done, and returns the facts of the run.
        inputs: Files by name: their bytes belong to the store's key.
        receipt: The gate's receipt for the split.
        weights: Record or file of the weights to start from, or None.
        store: Folder of the model store.
        code: Code digest of the rule.
        seed: Training seed.
        threads: CPU threads.
        outputs: Names in the store (model.pt, history.csv, run.json) to the job's outputs.
        gpus: GPUs that the job was given: with more than one, as many processes train together.
        packages: Whose versions run.json records.

    Raises:
        InputError: For a receipt of a leaking split with another protocol than naive_image, or `cuda` without a GPU.
    """
    device = choose_device(training.device)
    started_in = folder_of_process()
    if started_in is not None:
        _fit_with_others(fit, started_in, device, threads, deterministic=training.deterministic)
        return
    check_receipt(receipt)
    count = count_processes(gpus, device)
    parts: dict[str, Options] = {"task": task, "model": model, "training": training}
    key = store_key(given_options(parts), {**inputs, **({"weights": weights} if weights else {})}, code, seed)
    with working_folder(store, key) as folder:
        if is_finished(folder):
            logger.info("already trained: linked from %s", folder)
        else:
            facts = (
                _fit_alone(fit, folder, device, threads, deterministic=training.deterministic)
                if count == 1
                else fit_in_processes(folder, count)
            )
            finish(
                folder,
                {
                    **facts,
                    "store_key": key,
                    "code": code,
                    "options": {name: part.model_dump(mode="json") for name, part in parts.items()},
                    "versions": package_versions(*packages),
                    "environment": describe_environment()["digest"],
                    "git_commit": git_commit(),
                },
            )
            logger.info("kept epoch %d of %d", facts["best_epoch"], facts["epochs"])
        link_outputs(folder, outputs)


def given_options(parts: Mapping[str, Options]) -> dict[str, Any]:
    """What decides a training's outcome beside code, inputs and seed: the options that differ from their defaults.

    The defaults are code, and so part of its digest: a new option changes no key where it is not given.
    """
    return {name: part.model_dump(mode="json", exclude_defaults=True) for name, part in parts.items()}


def _fit_alone(fit: Fit, folder: Path, device: torch.device, threads: int, *, deterministic: bool) -> dict[str, Any]:
    (be_deterministic if deterministic else be_fast)(threads)
    logger.info("training on %s", describe_device(device))
    if not deterministic:
        return fit(folder, device)
    with note_nondeterministic() as operations:
        facts = fit(folder, device)
    if operations:
        logger.warning("equal seeds may give unequal weights here: no deterministic %s", ", ".join(operations))
    return {**facts, "nondeterministic_operations": operations} if operations else facts


def _fit_with_others(fit: Fit, folder: Path, device: torch.device, threads: int, *, deterministic: bool) -> None:
    """What a process does that `fit_in_processes` started."""
    with joined(folder, device) as own:
        share = max(1, threads // current_processes().count)
        tell_facts(folder, _fit_alone(fit, folder, own, share, deterministic=deterministic))


def check_receipt(path: Path) -> None:
    """Check that the gate let this split through, or that it leaks on purpose.

    Raises:
        InputError: If it does neither.
    """
    receipt = read_json(path)
    if not receipt.get("leak_free") and receipt.get("protocol") != "naive_image":
        raise InputError(
            path,
            found="a split that leaks",
            expected="leak_free: true",
            next_step=f"Delete {path.parent} and run again; the gate lists the pairs.",
        )
