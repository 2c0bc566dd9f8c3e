"""Train one detector of any family; resume it or link it where the model store has it."""

from pathlib import Path
from typing import Any

from scanline.core.command_line import parse_arguments, run
from scanline.core.options import Options, read_options
from scanline.train.detection import DetectionJob, detector_family, fit_detector, load_detection_samples, require_boxes
from scanline.train.detector_model import DetectorModel
from scanline.train.options import DetectTask, TrainingOptions
from scanline.train.run import train_in_store

TABLES = ("pixels", "index", "images", "boxes", "labels", "split")
SAME = ("receipt", "weights", "store", "code", "seed", "threads", "gpus")


class TrainDetectorOptions(Options):
    """The part of the study file that this rule depends on."""

    task: DetectTask
    model: DetectorModel
    training: TrainingOptions


def main() -> None:
    """Run the rule."""
    expected = "options seed threads gpus code store receipt weights? model history run"
    args = parse_arguments(__doc__, *expected.split(), *TABLES)
    options = read_options(TrainDetectorOptions, args.options)
    inputs, same = ({name: getattr(args, name) for name in names} for names in (TABLES, SAME))
    family, targets = detector_family(options.model.architecture), options.task.targets

    def fit(folder: Path, device: Any) -> dict[str, Any]:
        samples = load_detection_samples(**inputs, targets=targets, excluded=options.task.excluded_classes)
        require_boxes(samples, targets, args.split)
        job = DetectionJob(options.task, options.model, options.training, args.seed, device)
        return fit_detector(job, samples["train"], samples["val"], folder, args.weights)

    outputs = {"model.pt": args.model, "history.csv": args.history, "run.json": args.run}
    packages = ("torch", "torchvision", "numpy", "pandas", *(("ultralytics",) if family == "ultralytics" else ()))
    train_in_store(*vars(options).values(), fit, inputs=inputs, outputs=outputs, packages=packages, **same)


if __name__ == "__main__":
    run(main)
