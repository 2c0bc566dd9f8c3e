"""Train one segmentation network; resume it or link it where the model store has it."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.options import Options, read_options
from scanline.train.options import ModelOptions, SegmentTask, TrainingOptions
from scanline.train.segmentation import train_segmenter


class TrainOptions(Options):
    """The part of the study file that this rule depends on."""

    task: SegmentTask
    model: ModelOptions
    training: TrainingOptions


def main() -> None:
    """Run the rule."""
    names = "options seed threads gpus code store pixels index masks split receipt weights? model history run"
    args = parse_arguments(__doc__, *names.split())
    options = read_options(TrainOptions, args.options)
    train_segmenter(
        options.task,
        options.model,
        options.training,
        inputs={name: getattr(args, name) for name in ("pixels", "index", "masks", "split")},
        receipt=args.receipt,
        weights=args.weights,
        store=args.store,
        code=args.code,
        seed=args.seed,
        threads=args.threads,
        gpus=args.gpus,
        outputs={"model.pt": args.model, "history.csv": args.history, "run.json": args.run},
    )


if __name__ == "__main__":
    run(main)
