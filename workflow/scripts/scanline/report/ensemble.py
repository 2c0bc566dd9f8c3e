"""What an ensemble is made of, in words."""

from scanline.figures.numbers import format_value
from scanline.predict.ensemble_options import FusedRun
from scanline.report.options import ReportedRun

CONFIDENCES = {
    "average": "mean of its boxes, times the share of members that gave one",
    "maximum": "the highest of its boxes",
    "box_and_model_average": "mean of its boxes, times the weight of the members that gave one",
    "absent_model_aware_average": "mean of its boxes, with a 0 for each member that gave none",
}


def describe_ensemble(run: ReportedRun) -> list[tuple[str, str]]:
    """What an ensemble is made of, and how: name and value, in words."""
    facts = [(f"Member {number}", _describe_member(one)) for number, one in enumerate(run.members, start=1)]
    fusion = run.weighted_boxes_fusion
    if fusion is None:
        return [*facts, ("Together", "weighted mean of the probabilities")]
    together = f"weighted boxes fusion, boxes that overlap by an IoU above {format_value(fusion.iou_threshold)}"
    return [*facts, ("Together", together), ("Score of a fused box", CONFIDENCES[fusion.confidence])]


def _describe_member(member: FusedRun) -> str:
    return f"{member.name}" + (f", weight {member.weight:g}" if member.weight != 1 else "")
