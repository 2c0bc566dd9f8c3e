"""How the predictions of classes that exclude another are scored."""

from pydantic import Field

from scanline.core.options import Options
from scanline.evaluate.options import EvaluateOptions


class EvaluateMulticlassOptions(Options):
    """What the rule evaluate_multiclass is told."""

    targets: tuple[str, ...] = Field(min_length=2, description="The classes that were told apart, in order.")
    evaluate: EvaluateOptions = Field(default=EvaluateOptions(), description="Temperature, intervals, subgroups.")
    patient_salt: str = Field(description="Salt of the patient pseudonyms in the table of single images.")
