"""How the predictions of several labels are scored."""

from pydantic import Field

from scanline.core.options import Options
from scanline.evaluate.options import EvaluateOptions


class EvaluateMultilabelOptions(Options):
    """What the rule evaluate_multilabel is told."""

    targets: tuple[str, ...] = Field(min_length=1, description="The labels that were predicted.")
    evaluate: EvaluateOptions = Field(default=EvaluateOptions(), description="Operating points and intervals.")
    patient_salt: str = Field(description="Salt of the patient pseudonyms in the table of single images.")
