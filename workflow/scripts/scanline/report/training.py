"""The facts of a training, in words."""

from collections.abc import Mapping
from typing import Any

from scanline.figures.numbers import format_count, format_seconds, format_value

NOT_RECORDED = "not recorded"


def _count_taken(facts: Mapping[str, Any]) -> str:
    taken = facts.get("tensors_from_weights")
    return f", {format_count(taken)} tensors taken" if taken else ""


def _notes(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the trainer made of options that do not speak for themselves."""
    notes = facts.get("ultralytics_notes") or {}
    words = "; ".join(f"{name}: {line}" for name, line in notes.items())
    return [("Options of the trainer", words)] if notes else []


def describe_training(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts of a training: name and value, in words."""

    def text(key: str) -> str:
        return NOT_RECORDED if facts.get(key) is None else str(facts[key])

    def count(key: str) -> str:
        return NOT_RECORDED if facts.get(key) is None else format_count(int(facts[key]))

    stopped = "stopped early" if facts.get("stopped_early") else "ran to the end"
    if "diverged_in_epoch" in facts:
        stopped = f"the network diverged in epoch {facts['diverged_in_epoch']}"
    speed, seconds = facts.get("images_per_second"), facts.get("wall_seconds")
    several = f"{processes} times " if (processes := facts.get("processes", 1)) > 1 else ""
    return [
        ("Network", f"{text('architecture')}, {count('parameters')} parameters"),
        ("Weights at the start", text("weights") + _count_taken(facts)),
        ("Images", f"{count('n_train')} to train on, {count('n_val')} for val"),
        ("Kept epoch", f"{text('best_epoch')} (of {text('epochs')} at most; {stopped})"),
        ("Seed", text("seed")),
        ("Device", f"{several}{text('device')}, {text('precision')}"),
        ("Time", NOT_RECORDED if seconds is None else format_seconds(float(seconds))),
        ("Images a second", NOT_RECORDED if speed is None else format_value(float(speed), 1)),
        ("Versions", ", ".join(f"{k} {v}" for k, v in sorted(facts.get("versions", {}).items()))),
        *_notes(facts),
        ("Environment", text("environment")),
        ("Git commit", text("git_commit")),
    ]
