"""Write a detection set as a tree of files that other tools read, and read it back."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.prepare.detection_set import read_set
from scanline.prepare.set_export import ExportOptions, export_set


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "images", "boxes", "labels", "split", "folder", "record", "threads")
    options = read_options(ExportOptions, args.options)
    whole = read_set(args.images, args.boxes, args.labels, args.split, options)
    record = export_set(whole, options, args.folder, args.threads)
    write_json(args.record, record)
    logger.info("%s: %d images with %d boxes", args.folder, len(whole.images), len(whole.boxes))


if __name__ == "__main__":
    run(main)
