"""The section `evaluate` of a study file, and which part of it each kind of task is scored with."""

from typing import Any, Literal

from pydantic import Field

from scanline.evaluate.detector_options import BoxOptions
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.segmenter_options import MaskScoring

INTERVALS = ("bootstrap_resamples", "confidence_level", "interval_method", "stratified", "seed")
GROUPS = ("subgroups", "age_edges_years")
POINT = ("operating_point", "target", "temperature_scaling")
USED = {
    "binary": (*INTERVALS, *GROUPS, *POINT, "prevalence"),
    "multilabel": (*INTERVALS, *GROUPS, *POINT, "prevalence"),
    "multiclass": (*INTERVALS, *GROUPS, "temperature_scaling"),
    "detect": (*INTERVALS, *GROUPS, "prevalence"),
    "segment": (*INTERVALS, *GROUPS),
}
Kind = Literal["binary", "multilabel", "multiclass", "detect", "segment"]


class StudyEvaluateOptions(EvaluateOptions):
    """Scoring of all tasks of a study. Each rule is told only what its kind of task is scored with."""

    masks: MaskScoring = Field(default=MaskScoring(), description="Of segmentation: when a pixel and an image count.")
    boxes: BoxOptions = Field(default=BoxOptions(), description="Of detection: when a box counts.")

    def of_kind(self, kind: Kind) -> dict[str, Any]:
        """What the evaluation of a kind of task uses: its fields of `evaluate`, and `masks` or `boxes`.

        What is left out keeps its default in the rule, which does not read it: so that changing it reruns nothing.
        """
        found: dict[str, Any] = {"evaluate": self.model_dump(mode="json", include=set(USED[kind]))}
        if kind == "segment":
            found["masks"] = self.masks
        if kind == "detect":
            found["boxes"] = self.boxes
        return found

    def of_intervals(self) -> dict[str, Any]:
        """The fields that say how patients are resampled: all that comparing two splits uses."""
        return self.model_dump(mode="json", include=set(INTERVALS))
