"""The model store: training works in a folder named by everything that decides its outcome.

Snakemake does not know the store and so never deletes from it. A job that finds its folder finished links the
files and ends; one that finds it half done goes on from the last checkpoint.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scanline.core.files import link_or_copy, sha256_of_file, sha256_of_text, write_json
from scanline.core.log import logger

BEST = "best.pt"
CHECKPOINT = "checkpoint.pt"
LAST_WRITTEN = "run.json"


def store_key(options: Any, inputs: Mapping[str, Path], code: str, seed: int) -> str:
    """The key of a training job: 32 hexadecimal digits of a hash over all that decides its outcome.

    Args:
        options: Plain values of the job's options.
        inputs: Name to file: their bytes count, their paths do not.
        code: The rule's code digest.
        seed: The training seed.
    """
    digests = {name: sha256_of_file(path) for name, path in inputs.items()}
    values = {"code": code, "inputs": digests, "options": options, "seed": seed}
    return sha256_of_text(json.dumps(values, sort_keys=True))[:32]


@contextmanager
def working_folder(store: Path, key: str) -> Iterator[Path]:
    """The folder of a key, locked for the length of the block; a killed job's lock goes with its process.

    Where another job works on the same key, this one waits, and then finds the model finished.
    """
    folder = store / key
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another job that trains the same model in %s", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def is_finished(folder: Path) -> bool:
    """Whether the training that works in `folder` has ended: its record is what it writes last."""
    return (folder / LAST_WRITTEN).exists()


def link_outputs(folder: Path, targets: Mapping[str, Path]) -> None:
    """Link the store's files (by name) to a job's outputs."""
    for name, target in targets.items():
        link_or_copy(folder / name, target)


def finish(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record, which marks the folder as finished, then drop what only resuming needs."""
    write_json(folder / LAST_WRITTEN, dict(record))
    for name in (BEST, CHECKPOINT):
        (folder / name).unlink(missing_ok=True)


def unneeded_keys(store: Path, results: Path) -> list[str]:
    """Keys in the store that no run.json below `results` names, sorted; folders that a job has locked are kept."""
    needed = {
        json.loads(path.read_text("utf-8")).get("store_key")
        for path in results.rglob(LAST_WRITTEN)
        if store not in path.parents
    }
    folders = [folder for folder in sorted(store.iterdir()) if folder.is_dir()] if store.is_dir() else []
    return [folder.name for folder in folders if folder.name not in needed and not _is_locked(folder)]


def _is_locked(folder: Path) -> bool:
    lock = folder / "lock"
    if not lock.exists():
        return False
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
