"""Fetch a network's published weights into data/weights, or use the file that is there."""

from scanline.acquire.weights import acquire_weights, weights_url
from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "name", "folder", "weights")
    record = acquire_weights(args.name, weights_url(args.name), args.folder)
    write_json(args.weights, record)
    logger.info("%s: %s", args.name, record["path"])


if __name__ == "__main__":
    run(main)
