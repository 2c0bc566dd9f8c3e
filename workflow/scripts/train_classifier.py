"""Train one image-level network; resume it or link it where the model store has it."""

from pathlib import Path

import torch
from pydantic import Field

from scanline.core.command_line import parse_arguments, run
from scanline.core.options import Options, read_options
from scanline.train.image_level import Job, fit_classifier
from scanline.train.options import ImageLevelTask, ModelOptions, TrainingOptions
from scanline.train.run import train_in_store


class TrainOptions(Options):
    """The part of the study file that this rule depends on."""

    task: ImageLevelTask = Field(discriminator="kind")
    model: ModelOptions
    training: TrainingOptions


def main() -> None:
    """Run the rule."""
    names = "options seed threads gpus code store pixels index labels split receipt weights? model history run"
    args = parse_arguments(__doc__, *names.split(), "class_weights?")
    options = read_options(TrainOptions, args.options)
    task, model, training = options.task, options.model, options.training
    names = "pixels index labels split class_weights"
    inputs = {name: path for name in names.split() if (path := getattr(args, name)) is not None}

    def fit(folder: Path, device: torch.device) -> dict[str, object]:
        return fit_classifier(Job(task, model, training, args.seed, device), inputs, args.weights, folder)

    outputs = {"model.pt": args.model, "history.csv": args.history, "run.json": args.run}
    rest = {name: getattr(args, name) for name in ("receipt", "weights", "store", "code", "seed", "threads", "gpus")}
    train_in_store(task, model, training, fit, inputs=inputs, outputs=outputs, **rest)


if __name__ == "__main__":
    run(main)
