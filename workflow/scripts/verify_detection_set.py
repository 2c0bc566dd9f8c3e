"""The gate of a detection set: stop at the first check that fails, else write the evidence of all of them."""

from scanline.core.command_line import parse_arguments, run
from scanline.core.files import write_json
from scanline.core.log import logger
from scanline.core.options import read_options
from scanline.prepare.detection_set import read_set
from scanline.prepare.set_evidence import EvidenceOptions, verify_detection_set


def main() -> None:
    """Run the rule."""
    args = parse_arguments(__doc__, "options", "images", "boxes", "labels", "split", "evidence")
    options = read_options(EvidenceOptions, args.options)
    whole = read_set(args.images, args.boxes, args.labels, args.split, options)
    evidence = verify_detection_set(whole, options)
    write_json(args.evidence, evidence)
    logger.info("%d images pass %d checks", len(whole.images), len(evidence["checks"]))


if __name__ == "__main__":
    run(main)
