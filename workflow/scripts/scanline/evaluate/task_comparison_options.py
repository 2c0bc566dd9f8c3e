"""One question that tasks of several kinds answer, and what the rule compare_tasks is told."""

from typing import Literal

from pydantic import Field

from scanline.core.options import Options
from scanline.evaluate.options import EvaluateOptions


class Question(Options):
    """A question of yes or no about an image, that tasks of any kind answer and are compared by."""

    title: str = Field(description="The question, as the report prints it.")
    label: str = Field(description="The class whose column of the labels table is the truth.")
    answers: dict[str, str] = Field(
        min_length=2,
        description="Entry of `tasks` to the class by which it answers: the question's own, or a stand-in.",
    )
    thresholds: Literal["task", "question"] = Field(
        default="task",
        description="Where yes begins: at the threshold that each task's evaluation froze on val (task), or at one"
        " chosen on val for this question by evaluate.operating_point, alike for all (question).",
    )


class AnsweringRun(Options):
    """One trained and evaluated model that answers a question."""

    split: str = Field(description="The split it was trained and tested on.")
    task: str = Field(description="The task.")
    kind: Literal["binary", "multilabel", "detect", "segment"] = Field(description="Kind of the task.")
    model: str = Field(description="The network.")
    seed: int = Field(ge=0, description="The training seed.")


class CompareTasksOptions(Options):
    """What the rule compare_tasks is told."""

    questions: dict[str, Question] = Field(min_length=1, description="Questions by name.")
    runs: tuple[AnsweringRun, ...] = Field(description="The runs, in the order of the files given for them.")
    evaluate: EvaluateOptions = Field(
        default=EvaluateOptions(), description="Intervals, and how thresholds are chosen for a question."
    )
