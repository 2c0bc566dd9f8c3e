"""The whole configuration: config/config.yaml, a preset laid over it, and one file a study, all checked."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from scanline.acquire.options import AcquireOptions
from scanline.config_ensembles import check_ensembles
from scanline.config_names import check_known
from scanline.core.errors import InputError
from scanline.core.options import Options, check_options
from scanline.curate.layouts import check_layout
from scanline.curate.options import CurateOptions
from scanline.evaluate.detector_comparison_options import DetectorComparison
from scanline.evaluate.study_options import StudyEvaluateOptions
from scanline.evaluate.task_comparison_options import Question
from scanline.figures.options import FigureOptions
from scanline.predict.ensemble_options import Ensemble
from scanline.predict.study_options import StudyNetwork
from scanline.prepare.detection_set_options import DetectionSet
from scanline.prepare.options import OfflineAugmentation, PixelOptions
from scanline.report.kinds import KINDS
from scanline.split.options import NO_CLASS, SplitOptions, classes_named
from scanline.train.network_names import is_ultralytics
from scanline.train.options import (
    AugmentableTask,
    ClassifyTask,
    DetectTask,
    MulticlassTask,
    SegmentTask,
    Task,
    TrainingOptions,
    kind_of_network,
)

NAME = r"^[a-z][a-z0-9_]*$"


class Source(Options):
    """One source of raw files."""

    title: str = Field(description="Name of the data set, as its authors call it.")
    license: str = Field(description="Licence of the data; it travels to the report.")
    citation: str = Field(description="What to cite when this data is used.")
    url: str = Field(description="Where the data is published.")
    acquire: AcquireOptions = Field(description="Where the raw files come from.")
    curate: CurateOptions = Field(description="How they become tables.")


class Run(Options):
    """Models to train: every combination of the names below."""

    split: str = Field(description="An entry of `splits`.")
    tasks: tuple[str, ...] = Field(min_length=1, description="Entries of `tasks`.")
    models: tuple[str, ...] = Field(min_length=1, description="Entries of `models` and `ensembles`.")
    seeds: tuple[int, ...] = Field(
        min_length=1, description="Training seeds, one model each. An ensemble has none of its own, and is made once."
    )


class Yardstick(Options):
    """Figures that others reported for the same question, printed beside ours."""

    name: str = Field(description="Whose figures, and how they were obtained.")
    source: str = Field(description="Where they are told: a publication with its DOI, or who told them.")
    split: str | None = Field(
        default=None, description="The entry of `splits` that is most like theirs; null where another key tells."
    )
    other_split: str | None = Field(
        default=None,
        description="Their split of this study's data, where it is like none of `splits`: their figures are then no"
        " yardstick of ours, and said to be none.",
    )
    data_set: str | None = Field(
        default=None, description="The other data set that they were measured on; null where it is this study's."
    )
    subset: Literal["val", "test", "external"] = Field(
        default="test", description="The subset of `split` that is most like what they were measured on."
    )
    task: str = Field(description="The entry of `tasks` that they answer.")
    metrics: dict[str, float] = Field(
        min_length=1,
        description="Name of a metric in the first table of the task's kind (refused otherwise, with the names there"
        " are) to their value, with as many decimals as they reported.",
    )

    @model_validator(mode="after")
    def _measured_somewhere(self) -> Self:
        if sum(place is not None for place in (self.split, self.other_split, self.data_set)) != 1:
            raise ValueError(
                "either split, where they used this study's data, or data_set, where they used other data,"
                " or other_split"
            )
        return self


class Study(Options):
    """What is studied; how much is a preset's matter, where is a profile's."""

    title: str = Field(description="Title of the report.")
    description: str = Field(description="What the study asks, in a sentence or two.")
    sources: dict[str, Source] = Field(min_length=1, description="Sources by name.")
    labels: tuple[str, ...] = Field(min_length=1, description="The study's classes.")
    splits: dict[str, SplitOptions] = Field(min_length=1, description="Splits by name.")
    tasks: dict[str, Task] = Field(min_length=1, description="Tasks by name.")
    models: dict[str, StudyNetwork] = Field(min_length=1, description="Networks by name.")
    ensembles: dict[str, Ensemble] = Field(
        default={},
        description="Ensembles by name, which begins with `ensemble`; `runs` name them among the models. Null takes one"
        " out.",
    )
    runs: tuple[Run, ...] = Field(
        description="Which models are trained on which split and task; empty for a study of tables and splits alone."
    )
    label_analysis: bool = Field(
        default=False,
        description="Analyse the labels: frequencies, co-occurrence, age, sex, view, what a split leaks by label, and"
        " weights of classes and training images.",
    )
    questions: dict[str, Question] = Field(
        default={},
        description="Questions by name, by which tasks of several kinds are compared: on each split where at least two"
        " tasks of `runs` answer. Null takes one out.",
    )
    detector_comparisons: dict[str, DetectorComparison] = Field(
        default={},
        description="Ways to train a detector by name, set side by side on the test images that they share. Null takes"
        " one out.",
    )
    yardsticks: tuple[Yardstick, ...] = Field(default=(), description="Reported figures of others.")
    offline_augmentation: dict[str, OfflineAugmentation] = Field(
        default={}, description="Augmentations of training images by name, made once; tasks refer to them."
    )
    detection_sets: tuple[DetectionSet, ...] = Field(
        default=(), description="Detection tasks whose images and boxes are verified, analysed and exported."
    )
    pixels: PixelOptions = Field(description="The pixel cache.")
    training: TrainingOptions = Field(default=TrainingOptions(), description="How much and how to train.")
    evaluate: StudyEvaluateOptions = Field(default=StudyEvaluateOptions(), description="Scoring.")
    figures: FigureOptions = Field(default=FigureOptions(), description="Looks of the figures.")


class Config(Options):
    """The configuration of one call of the workflow."""

    studies: dict[str, Study] = Field(min_length=1, description="Studies, by name.")
    by_default: tuple[str, ...] = Field(description="Those that run without being named.")
    results: str = Field(description="Folder for everything made.")
    model_store: str = Field(description="Folder of the model store, shared by all presets.")
    patient_salt: str = Field(description="Salt of the patient pseudonyms in reports and CSV files.")


class ConfigFile(Options):
    """config/config.yaml: which studies to run and where results lie; `--config key=value` overrides a key."""

    studies: tuple[str, ...] = Field(min_length=1, description="Studies to run: names of files in config/studies/.")
    named_studies: tuple[str, ...] = Field(
        default=(), description="Studies that run only when they are named: snakemake <study>."
    )
    preset: str | None = Field(default=None, description="A file of config/presets/ laid over the studies.")
    results: str = Field(
        default="results", description="Folder for everything made; a preset adds a folder of its name."
    )
    model_store: str = Field(default="results/model_store", description="Folder of the model store.")
    patient_salt: str = Field(
        default="scanline",
        description="Salt of the patient pseudonyms in reports and CSV files; keep yours private.",
    )


class Preset(Options):
    """config/presets/<name>.yaml: values laid over the study files."""

    all_studies: dict[str, Any] = Field(default_factory=dict, description="Laid over every study.")
    studies: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Laid over one study, after that.")


def load_config(values: Mapping[str, Any], project: Path) -> Config:
    """Check the configuration that Snakemake read, and the study and preset files that it names.

    Args:
        values: The content of config/config.yaml with `--config` overrides.
        project: The folder that holds config/.

    Raises:
        InputError: One line for the first thing that is wrong: file, key, found, expected, next step.
    """
    config_path = project / "config/config.yaml"
    file = check_options(ConfigFile, dict(values), config_path.relative_to(project))
    preset = Preset()
    if file.preset is not None:
        preset_path = _named_file(project, "presets", file.preset, "preset")
        preset = check_options(Preset, read_yaml(preset_path), preset_path.relative_to(project))
    studies = {}
    for name in dict.fromkeys((*file.studies, *file.named_studies)):
        path = _named_file(project, "studies", name, "studies")
        values_of_study = overlay(read_yaml(path), preset.all_studies)
        values_of_study = overlay(values_of_study, preset.studies.get(name, {}))
        where = path.relative_to(project)
        if file.preset is not None:
            where = Path(f"{where} (under preset {file.preset})")
        study = check_options(Study, values_of_study, where)
        check_names(study, where)
        studies[name] = study
    check_kinds(studies)
    results = file.results if file.preset is None else f"{file.results}/{file.preset}"
    return Config(
        studies=studies,
        by_default=file.studies,
        results=results,
        model_store=file.model_store,
        patient_salt=file.patient_salt,
    )


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        InputError: If it is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise InputError(path, found=str(error), expected="YAML", next_step="Mend the file.") from error


def overlay(base: Any, top: Any) -> Any:
    """Lay `top` over `base`: maps merge key by key, anything else is replaced, and null takes an entry out.

    A map whose `method`, `protocol` or `kind` differs from the one below replaces it whole, as its keys are others.
    """
    if not isinstance(base, dict) or not isinstance(top, dict):
        return top
    for tag in ("method", "protocol", "kind"):
        if tag in top and base.get(tag) != top[tag]:
            return top
    merged = {**base, **{key: overlay(base.get(key), value) for key, value in top.items()}}
    return {key: value for key, value in merged.items() if not (key in top and value is None)}


def _named_file(project: Path, folder: str, name: str, key: str) -> Path:
    path = project / "config" / folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise InputError(
            f"config/config.yaml: {key}",
            found=repr(name),
            expected=f"one of {', '.join(known)}",
            next_step=f"Write {path.relative_to(project)} or name another.",
        )
    return path


def check_kinds(studies: Mapping[str, Study]) -> None:
    """Check that tasks with one name are of one kind in all studies: their names are all that rules see of them.

    Raises:
        InputError: For the first that is not.
    """
    first: dict[str, tuple[str, str]] = {}
    for study_name, study in studies.items():
        for name, task in study.tasks.items():
            other, kind = first.setdefault(name, (study_name, task.kind))
            if kind != task.kind:
                raise InputError(
                    f"config/studies/{study_name}.yaml: tasks.{name}",
                    found=f"kind {task.kind}; in {other} a task of that name is of kind {kind}",
                    expected="one kind for one name in all studies",
                    next_step="Rename one of the two.",
                )


IMAGE_LEVEL = ("binary", "multilabel", "multiclass")  # kinds that one engine trains
LOOKED = {
    "binary": "looked for",
    "multilabel": "looked for",
    "multiclass": "looked for",
    "detect": "boxed",
    "segment": "outlined",
}
GIVES = {
    "binary": "annotated_classes, mask_class or label_table.columns",
    "multilabel": "annotated_classes, mask_class or label_table.columns",
    "multiclass": "annotated_classes, mask_class or label_table.columns",
    "detect": "annotated_classes",
    "segment": "mask_class",
}


def targets_of(task: Task) -> tuple[str, ...]:
    """The classes that a task is about."""
    return (task.target,) if isinstance(task, ClassifyTask | SegmentTask) else task.targets


def check_fit(study: Study, task: str, model: str, where: str) -> None:
    """Check that a network can do a task.

    Raises:
        InputError: If it is made for another kind.
    """
    kind = study.tasks[task].kind
    image_level = kind in IMAGE_LEVEL
    parts = study.models[model].training_over(study.training).accumulation_steps
    if parts > 1 and not image_level and not is_ultralytics(study.models[model].architecture):
        raise InputError(
            where,
            found=f"{model} for the task {task} of kind {kind}, with training.accumulation_steps {parts}",
            expected="1: batches of image-level tasks alone are computed in parts",
            next_step="Give accumulation_steps to the models of image-level tasks, in their own training.",
        )
    wanted = "classify" if image_level else kind
    architecture = study.models[model].architecture
    if kind_of_network(architecture) != wanted:
        able = [name for name, other in study.models.items() if kind_of_network(other.architecture) == wanted]
        raise InputError(
            where,
            found=f"{model} ({architecture}) for the task {task}, which is of kind {kind}",
            expected=f"a network that can {wanted}" + (f": {', '.join(able)}" if able else ""),
            next_step="Name another model for this task, or define one in models.",
        )
    own = study.models[model].ultralytics
    targets = targets_of(study.tasks[task])
    if own is not None and own.single_cls and len(targets) > 1:
        raise InputError(
            where,
            found=f"{model} with single_cls for the task {task}, which has {len(targets)} targets",
            expected="one target, as what is found must be of a class of the study",
            next_step="Map the source's classes to one in curate.classes, or leave single_cls out.",
        )


def check_label_table(curate: CurateOptions, labels: Sequence[str], where: str) -> None:
    """Check that the classes of a label table are the study's, each with a column of its own.

    Raises:
        InputError: For the first class or column that is not.
    """
    table = curate.label_table
    if table is None:
        return
    owners: dict[str, str] = {table.image_column: "the image"}
    for label, column in table.columns.items():
        check_known(f"{where}.columns", label, labels)
        if column in owners:
            raise InputError(
                f"{where}.columns.{label}",
                found=f"the column {column!r}, which is that of {owners[column]}",
                expected="a column of its own for each class",
                next_step="Name the table's columns as its first line does.",
            )
        owners[column] = label


def check_detection_sets(study: Study, where: Path) -> None:
    """Check that each detection set is of a leak-free split and of tasks with boxes, each named once.

    Raises:
        InputError: For the first that is not.
    """
    seen: set[tuple[str, str]] = set()
    for index, entry in enumerate(study.detection_sets):
        place = f"{where}: detection_sets.{index}"
        check_known(f"{place}.split", entry.split, [n for n, s in study.splits.items() if s.protocol != "naive_image"])
        able = [name for name, task in study.tasks.items() if isinstance(task, DetectTask)]
        for task in entry.tasks:
            check_known(f"{place}.tasks", task, able)
            if (entry.split, task) in seen:
                raise InputError(
                    f"{place}.tasks",
                    found=f"{task} on {entry.split} again",
                    expected="each task of a split once",
                    next_step="Take one of the two out.",
                )
            seen.add((entry.split, task))


def check_detector_comparisons(study: Study, where: Path) -> None:
    """Check that compared detectors are of leak-free splits and look for the same targets.

    Raises:
        InputError: For the first that is or does not.
    """
    for name, comparison in study.detector_comparisons.items():
        wanted = None
        for index, entry in enumerate(comparison.entries):
            place = f"{where}: detector_comparisons.{name}.entries.{index}"
            leak_free = [key for key, split in study.splits.items() if split.protocol != "naive_image"]
            check_known(f"{place}.split", entry.split, leak_free)
            check_known(f"{place}.task", entry.task, [k for k, t in study.tasks.items() if isinstance(t, DetectTask)])
            check_known(f"{place}.model", entry.model, study.models)
            targets = targets_of(study.tasks[entry.task])
            wanted = wanted or targets
            if targets != wanted:
                raise InputError(
                    f"{place}.task",
                    found=f"targets {', '.join(targets)}",
                    expected=f"those of the first entry: {', '.join(wanted)}",
                    next_step="Compare tasks with the same targets.",
                )


def check_names(study: Study, where: Path) -> None:
    """Check that every name used in a study is defined in it, and spelled as paths need it.

    Raises:
        InputError: For the first name that is not.
    """

    def known(key: str, name: str, names: Iterable[object]) -> None:
        check_known(f"{where}: {key}", name, names)

    for section in (
        "sources",
        "splits",
        "tasks",
        "models",
        "ensembles",
        "questions",
        "detector_comparisons",
        "offline_augmentation",
    ):
        for name in getattr(study, section):
            if not re.match(NAME, name):
                raise InputError(
                    f"{where}: {section}",
                    found=repr(name),
                    expected="lower-case letters, digits and underscores, a letter first",
                    next_step="Rename the entry: it becomes a folder.",
                )
    for name, split in study.splits.items():
        if name.startswith("naive_image") != (split.protocol == "naive_image"):
            raise InputError(
                f"{where}: splits.{name}",
                found=f"protocol {split.protocol}",
                expected="names that begin with naive_image for the naive_image protocol, and for no other",
                next_step="Rename the split: a path must show that its split leaks.",
            )
        for label in getattr(split, "balance", ()):
            known(f"splits.{name}.balance", label, (*study.labels, NO_CLASS))
        for source_name in getattr(split, "external_sources", ()):
            known(f"splits.{name}.external_sources", source_name, study.sources)
        slice_range = getattr(split, "slice_range", None)
        if slice_range is not None:
            known(f"splits.{name}.slice_range.target", slice_range.target, study.labels)
        if split.protocol == "stratified":
            known(f"splits.{name}.stratify_by", split.stratify_by, study.labels)
        for subset, policy in getattr(split, "policies", {}).items():
            for label in classes_named(policy):
                known(f"splits.{name}.policies.{subset}", label, study.labels)
    for name, source in study.sources.items():
        check_layout(source.curate, f"{where}: sources.{name}.curate")
        for label in (*source.curate.annotated_classes, *source.curate.classes.values()):
            known(f"sources.{name}.curate", label, study.labels)
        if source.curate.mask_class is not None:
            known(f"sources.{name}.curate.mask_class", source.curate.mask_class, study.labels)
        check_label_table(source.curate, study.labels, f"{where}: sources.{name}.curate.label_table")
    annotated = {label for source in study.sources.values() for label in source.curate.annotated_classes}
    outlined = {source.curate.mask_class for source in study.sources.values()}
    tables = [source.curate.label_table for source in study.sources.values()]
    tabled = {label for table in tables if table is not None for label in table.columns}
    for name, task in study.tasks.items():
        key = "targets" if hasattr(task, "targets") else "target"
        for target in targets_of(task):
            known(f"tasks.{name}.{key}", target, study.labels)
            able = (
                outlined
                if isinstance(task, SegmentTask)
                else annotated
                if task.kind == "detect"
                else annotated | outlined | tabled
            )
            if target not in able:
                raise InputError(
                    f"{where}: tasks.{name}.{key}",
                    found=repr(target),
                    expected=f"a class that some source's annotators {LOOKED[task.kind]}",
                    next_step=f"Add it to a source's {GIVES[task.kind]}, or choose another target.",
                )
        for label in getattr(task, "excluded_classes", ()):
            known(f"tasks.{name}.excluded_classes", label, set(study.labels) - set(targets_of(task)))
        if isinstance(task, AugmentableTask) and task.offline_augmentation is not None:
            known(f"tasks.{name}.offline_augmentation", task.offline_augmentation, study.offline_augmentation)
    check_detection_sets(study, where)
    check_detector_comparisons(study, where)
    for name, question in study.questions.items():
        known(f"questions.{name}.label", question.label, study.labels)
        if question.label not in annotated | outlined:
            raise InputError(
                f"{where}: questions.{name}.label",
                found=repr(question.label),
                expected="a class that some source's annotators looked for",
                next_step="Add it to a source's annotated_classes or mask_class, or ask about another class.",
            )
        for task_name, label in question.answers.items():
            known(f"questions.{name}.answers", task_name, study.tasks)
            task = study.tasks[task_name]
            if isinstance(task, MulticlassTask):
                raise InputError(
                    f"{where}: questions.{name}.answers",
                    found=f"{task_name}, which is of kind multiclass",
                    expected="a task that answers yes or no at a threshold",
                    next_step="Take it out, or answer by a task of another kind.",
                )
            known(f"questions.{name}.answers.{task_name}", label, targets_of(task))
    for index, run in enumerate(study.runs):
        known(f"runs.{index}.split", run.split, study.splits)
        for task_name in run.tasks:
            known(f"runs.{index}.tasks", task_name, study.tasks)
        for model in run.models:
            known(f"runs.{index}.models", model, (*study.models, *study.ensembles))
            for task_name in run.tasks if model in study.models else ():
                check_fit(study, task_name, model, f"{where}: runs.{index}.models")
    check_ensembles(study, where)
    for index, yardstick in enumerate(study.yardsticks):
        if yardstick.split is not None:
            known(f"yardsticks.{index}.split", yardstick.split, study.splits)
        known(f"yardsticks.{index}.task", yardstick.task, study.tasks)
        for metric in yardstick.metrics:
            known(f"yardsticks.{index}.metrics", metric, KINDS[study.tasks[yardstick.task].kind].headline)
