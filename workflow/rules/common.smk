"""Every function that the rules need: the checked configuration, paths, options, digests, lists of targets."""

import json
import re
import shlex
import sys
from pathlib import Path

PROJECT = Path(workflow.current_basedir).parent.parent
SCRIPTS = PROJECT / "workflow/scripts"
sys.path.insert(0, str(SCRIPTS))

from scanline.config import IMAGE_LEVEL, load_config, targets_of
from scanline.core.code_digest import ParsedModules
from scanline.core.code_digest import code_digest as digest_of_code
from scanline.core.errors import InputError
from scanline.core.run_names import ENSEMBLE_SEED, name_seed
from scanline.figures.options import DETECTION_SET_FIGURES
from scanline.figures.options import LABEL_FIGURES as LABEL_FIGURE_NAMES
from scanline.prepare.detection_set_options import EXPORT_FORMATS, DetectionSet
from scanline.report.kinds import KINDS, seed_columns_of
from scanline.train.network_names import ULTRALYTICS_NAME
from scanline.train.study_options import repeats

RUN_FILES = "{split}/{task}/{model}/seed{seed}"
AUGMENTED = "<results>/{study}/prepared/{split}/{augmentation}"
SET_FILES = "{split}/{task}"
IMAGE_TABLES = {"detect": "image_level"}  # evaluation's table of single images; per_image for other kinds
LEAK_FREE = ("grouped", "stratified", "official", "kfold")  # protocols that part no group
SCAN_THREADS = 32  # fewer, as below, where the machine, or --cores, has fewer
TRAINING_THREADS = 8
RESOURCE_CLASSES = {  # memory in MB and run time in minutes of a job's first attempt, where jobs run on a cluster
    "small": (2_000, 30),  # pages and small figures
    "cpu": (8_000, 240),  # tables of a study, evaluation
    "io": (8_000, 720),  # every raw file is read
    "gpu": (32_000, 720),  # networks; a training job that ran out of time goes on in its next attempt
}


def checked_config():
    """The typed configuration, or one line that says what is wrong with it."""
    try:
        return load_config(config, PROJECT)
    except InputError as error:
        raise WorkflowError(str(error)) from None


CONFIG = checked_config()
PARSED_MODULES = ParsedModules(Path(".snakemake/scanline/parsed_modules.json"))


def one_of(names):
    """A wildcard constraint: any of these names; nothing matches where there are none."""
    return "|".join(re.escape(name) for name in sorted(set(names))) or r"\b\B"


def names_of(section):
    """A wildcard constraint: the entries of a section in any study."""
    return one_of(name for study in CONFIG.studies.values() for name in getattr(study, section))


def models_in_paths():
    """A wildcard constraint: what stands in the place of a network in the path of a run."""
    return one_of(name for study in CONFIG.studies.values() for name in (*study.models, *study.ensembles))


def labels():
    """A wildcard constraint: the classes of any study."""
    return one_of(label for study in CONFIG.studies.values() for label in study.labels)


def tasks_of(*kinds):
    """A wildcard constraint: the tasks of these kinds."""
    return one_of(name for study in CONFIG.studies.values() for name, task in study.tasks.items() if task.kind in kinds)


def splits_by(*protocols):
    """A wildcard constraint: the splits with one of these protocols."""
    return one_of(
        name for study in CONFIG.studies.values() for name, split in study.splits.items() if split.protocol in protocols
    )


# --- params ---------------------------------------------------------------------------------------------------------


def code_digest(rule, *modules):
    """Digest of what the script of `rule` does; `modules` are the registry entries that it picks by name."""
    try:
        return digest_of_code(SCRIPTS, rule, PROJECT / ENVIRONMENT_OF[rule], modules, PARSED_MODULES)
    except InputError as error:
        raise WorkflowError(str(error)) from None


ENVIRONMENT_OF = {
    "acquire_source": "envs/acquire.yaml",
    "acquire_weights": "envs/train.yaml",
    "scan_files": "envs/curate.yaml",
    "curate_source": "envs/curate.yaml",
    "merge_sources": "envs/curate.yaml",
    "group_images": "envs/split.yaml",
    "split_grouped": "envs/split.yaml",
    "split_naive_image": "envs/split.yaml",
    "verify_split": "envs/split.yaml",
    "analyse_labels": "envs/split.yaml",
    "weigh_labels": "envs/split.yaml",
    "cache_pixels": "envs/curate.yaml",
    "cache_masks": "envs/curate.yaml",
    "augment_images": "envs/augment.yaml",
    "merge_augmented": "envs/split.yaml",
    "cache_augmented": "envs/curate.yaml",
    "verify_detection_set": "envs/curate.yaml",
    "analyse_detection_set": "envs/curate.yaml",
    "export_detection_set": "envs/curate.yaml",
    "train_classifier": "envs/train.yaml",
    "train_segmenter": "envs/segment.yaml",
    "train_detector": "envs/detect.yaml",
    "predict_classifier": "envs/train.yaml",
    "predict_segmenter": "envs/segment.yaml",
    "export_classifier": "envs/export.yaml",
    "predict_detector": "envs/detect.yaml",
    "fuse_detections": "envs/evaluate.yaml",
    "average_scores": "envs/evaluate.yaml",
    "average_maps": "envs/evaluate.yaml",
    "evaluate_classifier": "envs/evaluate.yaml",
    "evaluate_multilabel": "envs/evaluate.yaml",
    "evaluate_multiclass": "envs/evaluate.yaml",
    "evaluate_segmenter": "envs/evaluate.yaml",
    "evaluate_detector": "envs/evaluate.yaml",
    "compare_splits": "envs/evaluate.yaml",
    "compare_tasks": "envs/evaluate.yaml",
    "compare_seeds": "envs/evaluate.yaml",
    "compare_detectors": "envs/evaluate.yaml",
    "plot_classifier": "envs/figures.yaml",
    "plot_multilabel": "envs/figures.yaml",
    "plot_multiclass": "envs/figures.yaml",
    "plot_segmenter": "envs/figures.yaml",
    "plot_detector": "envs/figures.yaml",
    "plot_study": "envs/figures.yaml",
    "plot_task_comparison": "envs/figures.yaml",
    "plot_label_analysis": "envs/figures.yaml",
    "plot_detection_set": "envs/figures.yaml",
    "write_receipt": "envs/report.yaml",
    "write_report": "envs/report.yaml",
    "write_overview": "envs/report.yaml",
}
ENVIRONMENTS = sorted({Path(file).stem for file in ENVIRONMENT_OF.values()})
NETWORKS = {  # by kind of task
    "binary": "train",
    "multilabel": "train",
    "multiclass": "train",
    "segment": "segment",
    "detect": "detect",
}


def environment_digest(wildcards):
    """A param: the digest of record_environment, which runs in the environment that it records."""
    return digest_of_code(SCRIPTS, "record_environment", PROJECT / f"envs/{wildcards.environment}.yaml")


def environment_options(wildcards):
    rules = [rule for rule, file in ENVIRONMENT_OF.items() if Path(file).stem == wildcards.environment]
    return as_json({"environment": wildcards.environment, "rules": rules})


def environments_of_study(wildcards):
    """An input function: records of the environments that the study's jobs run in."""
    study = study_of(wildcards)
    unused = {"export"} | set(NETWORKS.values()) - {
        NETWORKS[study.tasks[task].kind] for _, task, _, _ in runs_in(study)
    }
    return [f"<results>/environments/{name}.json" for name in ENVIRONMENTS if name not in unused]


def as_json(values):
    """The text of `--options`: models and plain values as JSON with sorted keys."""
    return json.dumps(values, sort_keys=True, default=lambda model: model.model_dump(mode="json"))


def studies_by_default():
    """The studies that run without being named, by name."""
    return {name: CONFIG.studies[name] for name in CONFIG.by_default}


def study_of(wildcards):
    return CONFIG.studies[wildcards.study]


def acquire_options(wildcards):
    return as_json(source_of(wildcards).acquire)


def source_of(wildcards):
    return study_of(wildcards).sources[wildcards.source]


def scan_options(wildcards):
    source = source_of(wildcards)
    return as_json(
        {
            "folder": source.acquire.path,
            "shard": int(wildcards.shard),
            "shards": source.curate.scan_shards,
            **source.curate.of_scan(),
        }
    )


def scans_of_source(wildcards):
    """An input function: all shards of a source's scan."""
    folder = f"<results>/{wildcards.study}/sources/{wildcards.source}/scan"
    return [f"{folder}/{shard}.parquet" for shard in range(source_of(wildcards).curate.scan_shards)]


def curate_options(wildcards):
    source = source_of(wildcards)
    return as_json(
        {
            "folder": source.acquire.path,
            "labels": study_of(wildcards).labels,
            "curate": source.curate.model_dump(mode="json", exclude={"scan_shards", *source.curate.of_scan()}),
        }
    )


def curate_digest(wildcards):
    return code_digest(
        "curate_source",
        f"scanline.curate.adapters.{source_of(wildcards).curate.adapter}",
    )


def merge_options(wildcards):
    return as_json({"labels": study_of(wildcards).labels})


def merge_sources_options(wildcards):
    study = study_of(wildcards)
    reading = {name: source.curate.of_scan() for name, source in study.sources.items()}
    return as_json({"labels": study.labels, "reading": reading})


def split_options(wildcards):
    return as_json(study_of(wildcards).splits[wildcards.split])


def analyse_labels_options(wildcards):
    study = study_of(wildcards)
    return as_json({"labels": study.labels, "splits": list(study.splits)})


def pixel_options(wildcards):
    return as_json({**study_of(wildcards).pixels.model_dump(), "image_size_px": int(wildcards.size)})


def mask_options(wildcards):
    study = study_of(wildcards)
    outlining = [name for name, source in study.sources.items() if source.curate.mask_class == wildcards.label]
    pixels = {**study.pixels.model_dump(), "image_size_px": int(wildcards.size)}
    return as_json({**pixels, "target": wildcards.label, "sources": outlining})


def prepared(wildcards):
    """The folder of the caches that a task sees: those of its image size."""
    study = study_of(wildcards)
    size = study.tasks[wildcards.task].image_size_px or study.pixels.image_size_px
    return f"<results>/{wildcards.study}/prepared/{size}px"


def pixel_cache(wildcards):
    return f"{prepared(wildcards)}/pixels.npy"


def pixel_index(wildcards):
    return f"{prepared(wildcards)}/pixels.parquet"


def mask_cache(wildcards):
    return f"{prepared(wildcards)}/masks/{study_of(wildcards).tasks[wildcards.task].target}.npy"


def augmentation_of(wildcards):
    return study_of(wildcards).offline_augmentation[wildcards.augmentation]


def augment_options(wildcards):
    augmentation = augmentation_of(wildcards).model_dump(mode="json", exclude={"files"})
    return as_json({"augmentation": augmentation, "shard": int(wildcards.shard)})


def merge_augmented_options(wildcards):
    augmentation = augmentation_of(wildcards)
    return as_json({"labels": study_of(wildcards).labels, "factor": augmentation.factor, "files": augmentation.files})


def augmented_shards(table):
    """An input function: a table of each shard of an offline augmentation."""

    def paths(wildcards):
        folder = AUGMENTED.format(**wildcards)
        return [f"{folder}/shards/{shard}/{table}.parquet" for shard in range(augmentation_of(wildcards).shards)]

    return paths


def training_set(wildcards):
    """The folder of the offline augmentation that a task trains on; None where it names none."""
    name = getattr(study_of(wildcards).tasks[wildcards.task], "offline_augmentation", None)
    return AUGMENTED.format(study=wildcards.study, split=wildcards.split, augmentation=name) if name else None


def training_cache(file):
    """An input function: a file of the pixel cache that a task trains on."""

    def path(wildcards):
        whole = prepared(wildcards)
        augmented = training_set(wildcards)
        return f"{augmented}/{Path(whole).name}/{file}" if augmented else f"{whole}/{file}"

    return path


def plain_table(name, wildcards):
    folder = f"splits/{wildcards.split}" if name in {"split", "receipt"} else "curated"
    return f"<results>/{wildcards.study}/{folder}/{name}.{'json' if name == 'receipt' else 'parquet'}"


def training_table(name):
    """An input function: a table, or the receipt, of what a task trains on: curated, or with copies in it."""

    def path(wildcards):
        plain, augmented = plain_table(name, wildcards), training_set(wildcards)
        return f"{augmented}/{Path(plain).name}" if augmented else plain

    return path


def augmented_table(name):
    """An input function: a table of a task's offline augmentation; nothing where it names none."""

    def path(wildcards):
        augmented = training_set(wildcards)
        return f"{augmented}/{name}.parquet" if augmented else []

    return path


def detection_set(wildcards):
    """The entry of `detection_sets` that a task of a split stands in; one of defaults where it stands in none."""
    for entry in study_of(wildcards).detection_sets:
        if entry.split == wildcards.split and wildcards.task in entry.tasks:
            return entry
    return DetectionSet(split=wildcards.split, tasks=(wildcards.task,))


def classes_of_set(task):
    return {"targets": task.targets, "excluded_classes": task.excluded_classes}


def verify_set_options(wildcards):
    study = study_of(wildcards)
    task = study.tasks[wildcards.task]
    name = task.offline_augmentation
    factor = study.offline_augmentation[name].factor if name else 1
    return as_json({**classes_of_set(task), "factor": factor, "negatives": detection_set(wildcards).negatives})


def analyse_set_options(wildcards):
    classes = classes_of_set(study_of(wildcards).tasks[wildcards.task])
    return as_json({**classes, "previous": list(detection_set(wildcards).previous_versions)})


def previous_versions(wildcards):
    return list(detection_set(wildcards).previous_versions.values())


def export_options(wildcards):
    entry = detection_set(wildcards)
    return as_json(
        {
            **classes_of_set(study_of(wildcards).tasks[wildcards.task]),
            "format": wildcards.format,
            "files": entry.files,
            "partly_known": entry.partly_known,
            "salt": CONFIG.patient_salt if entry.file_names == "pseudonym" else None,
        }
    )


def plot_set_options(wildcards):
    study = study_of(wildcards)
    title = f"{wildcards.task}, {wildcards.split}"
    return as_json({**study.figures.model_dump(mode="json"), "title": title, "phantom": is_phantom(study)})


def set_figure(name):
    """An output: a figure of a detection set, with its place in Snakemake's report."""
    return report(
        f"<results>/{{study}}/figures/{SET_FILES}/{name}.png",
        caption="../report/detection_set.rst",
        category="{study}",
        subcategory="Detection sets",
        labels={"split": "{split}", "task": "{task}", "figure": name.removeprefix("set_")},
    )


def sets_in(study):
    """Each (split, task) of the study's detection sets, in the order of its file."""
    return [(entry.split, task) for entry in study.detection_sets for task in entry.tasks]


def set_paths(study_name, *patterns):
    """Each pattern, with {split} and {task} in it, for each detection set of a study."""
    return [
        f"<results>/{study_name}/{pattern.format(split=split, task=task)}"
        for split, task in sets_in(CONFIG.studies[study_name])
        for pattern in patterns
    ]


def for_each_set(*patterns):
    """An input function: each pattern for each detection set of the job's study."""

    def paths(wildcards):
        return set_paths(wildcards.study, *patterns)

    return paths


def reported_sets(study):
    """What the report is told of each detection set."""
    reported = []
    for entry in study.detection_sets:
        for task in entry.tasks:
            name = study.tasks[task].offline_augmentation
            words = study.offline_augmentation[name].in_words() if name else "none"
            reported.append({"split": entry.split, "task": task, "augmentation": words, **entry.datasheet.model_dump()})
    return reported


def train_options(wildcards):
    study = study_of(wildcards)
    model = study.models[wildcards.model]
    return as_json(
        {
            "task": study.tasks[wildcards.task].model_dump(mode="json", exclude_defaults=True),
            "model": model.network(),
            "training": model.training_options(study.training),
        }
    )


def predict_options(wildcards):
    study = study_of(wildcards)
    options = {**predicted_target(wildcards), **views_of(wildcards), "device": study.training.device}
    is_exclusive = study.tasks[wildcards.task].kind == "multiclass"
    return as_json(options | ({"exclusive": True} if is_exclusive else {}))


def predicted_target(wildcards):
    """The class of a task, or its labels, as prediction is told of them."""
    task = study_of(wildcards).tasks[wildcards.task]
    return {"target": getattr(task, "targets", None) or task.target}


def views_of(wildcards):
    """A network's test-time augmentation; nothing where it has none."""
    tta = study_of(wildcards).models[wildcards.model].test_time_augmentation
    return {} if tta is None else {"test_time_augmentation": tta}


def ensemble_of(wildcards):
    return study_of(wildcards).ensembles[wildcards.model]


def average_options(wildcards):
    return as_json({**predicted_target(wildcards), "members": ensemble_of(wildcards).runs()})


def fuse_options(wildcards):
    ensemble = ensemble_of(wildcards)
    return as_json({"members": ensemble.runs(), "weighted_boxes_fusion": ensemble.weighted_boxes_fusion})


def for_each_member(pattern):
    """An input function: `pattern`, with the fields of RUN_FILES in it, for each member of the job's ensemble."""

    def paths(wildcards):
        return run_paths(wildcards.study, pattern, members_of(wildcards))

    return paths


def members_of(wildcards):
    """The runs of an ensemble on the job's split and task."""
    return [(wildcards.split, wildcards.task, run.model, run.seed) for run in ensemble_of(wildcards).runs()]


def of_training(file):
    """An input function: a file that training left; of an ensemble, that of each member."""

    def paths(wildcards):
        is_member = wildcards.model in study_of(wildcards).ensembles
        runs = (
            members_of(wildcards)
            if is_member
            else [tuple(wildcards[name] for name in ("split", "task", "model", "seed"))]
        )
        return run_paths(wildcards.study, f"models/{RUN_FILES}/{file}", runs)

    return paths


def predict_detector_options(wildcards):
    study = study_of(wildcards)
    task = study.tasks[wildcards.task]
    classes = classes_of_set(task)
    return as_json({**classes, **views_of(wildcards), "device": study.training.device})


def detector_digest(rule):
    """A param: the digest of a detector's rule with the module of the network's family, which it picks by name."""

    def digest(wildcards):
        architecture = study_of(wildcards).models[wildcards.model].architecture
        family = "ultralytics" if re.fullmatch(ULTRALYTICS_NAME, architecture) else "torchvision"
        return code_digest(rule, f"scanline.train.{family}_detector")

    return digest


def target_of(task):
    """The class or classes of a task, under the name that its kind gives them."""
    return {"targets": task.targets} if hasattr(task, "targets") else {"target": task.target}


def evaluate_options(wildcards):
    study = study_of(wildcards)
    task = study.tasks[wildcards.task]
    return as_json(
        {
            **target_of(task),
            **study.evaluate.of_kind(task.kind),
            "patient_salt": CONFIG.patient_salt,
        }
    )


def compare_options(wildcards):
    study = study_of(wildcards)
    return as_json(
        {
            "runs": [run_entry(study, *run) for run in classified_runs(study)],
            "evaluate": study.evaluate.of_intervals(),
        }
    )


def compare_tasks_options(wildcards):
    study = study_of(wildcards)
    scoring = study.evaluate.of_intervals()
    if any(question.thresholds == "question" for question in study.questions.values()):
        scoring |= study.evaluate.model_dump(mode="json", include={"operating_point", "target"})
    return as_json(
        {
            "questions": study.questions,
            "runs": [answering_entry(study, *run) for run in compared_runs(study)],
            "evaluate": scoring,
        }
    )


def compare_seeds_options(wildcards):
    study = study_of(wildcards)
    runs = seed_runs(study)
    kinds = sorted({study.tasks[task].kind for _, task, _, _ in runs})
    first = study.evaluate.boxes.headline
    headline = {kind: {name: place for name, (_, place) in seed_columns_of(kind, first).items()} for kind in kinds}
    entries = [seed_entry(study, *run) for run in runs]
    options = {"runs": entries, "headline": headline, "evaluate": study.evaluate.of_intervals()}
    return as_json(options | ({"chosen_by": {"detect": first}} if "detect" in kinds else {}))


def seed_entry(study, split, task, model, seed):
    entry = {**answering_entry(study, split, task, model, seed), "targets": targets_of(study.tasks[task])}
    if model in (repeated := repeats(study.models)):
        entry["repeat_of"] = repeated[model]
    if model in study.ensembles:
        entry["members"] = [{"model": run.model, "seed": run.seed} for run in study.ensembles[model].runs()]
    return entry


def compare_detectors_options(wildcards):
    study = study_of(wildcards)
    comparisons = comparisons_of(study)
    tasks = dict.fromkeys(entry.task for one in comparisons.values() for entry in one["entries"])
    runs = compared_detectors(study)
    return as_json(
        {
            "comparisons": comparisons,
            "targets": {task: study.tasks[task].targets for task in tasks},
            "runs": [dict(zip(("split", "task", "model", "seed"), run)) for run in runs],
            **study.evaluate.of_kind("detect"),
            "evaluate": study.evaluate.of_intervals(),
        }
    )


def answering_entry(study, split, task, model, seed):
    return {"split": split, "task": task, "kind": study.tasks[task].kind, "model": model, "seed": seed}


def run_entry(study, split, task, model, seed):
    return {
        "split": split,
        "protocol": study.splits[split].protocol,
        "task": task,
        "model": model,
        "seed": seed,
    }


def members_in(study, model):
    """How many runs an ensemble is made of; None for a network."""
    return len(study.ensembles[model].runs()) if model in study.ensembles else None


def reported_entry(study, split, task, model, seed):
    entry = {**run_entry(study, split, task, model, seed), "kind": study.tasks[task].kind}
    if model in study.ensembles:
        entry |= {"members": study.ensembles[model].runs()}
        if study.tasks[task].kind == "detect":
            entry |= {"weighted_boxes_fusion": study.ensembles[model].weighted_boxes_fusion}
    return entry


def is_phantom(study):
    return any(source.acquire.method == "phantom" for source in study.sources.values())


def plot_run_options(wildcards):
    study = study_of(wildcards)
    members = members_in(study, wildcards.model)
    seed = name_seed(wildcards.model, wildcards.seed, members)
    title = f"{wildcards.task}, {wildcards.model}, {wildcards.split}, {seed}"
    return as_json(
        {
            **study.figures.model_dump(mode="json"),
            "title": title,
            "phantom": is_phantom(study),
            **({"members": [run.name for run in ensemble_of(wildcards).runs()]} if members else {}),
        }
    )


def run_figure(name):
    """An output: a figure of a run, with its place in Snakemake's report."""
    return report(
        f"<results>/{{study}}/figures/{RUN_FILES}/{name}.png",
        caption=f"../report/{name}.rst",
        category="{study}",
        subcategory="Models",
        labels={
            "split": "{split}",
            "task": "{task}",
            "model": "{model}",
            "seed": "{seed}",
            "figure": name.replace("_", " "),
        },
    )


def plot_study_options(wildcards):
    study = study_of(wildcards)
    return as_json(
        {
            **study.figures.model_dump(mode="json"),
            "phantom": is_phantom(study),
            "splits": list(study.splits),
        }
    )


def plot_task_comparison_options(wildcards):
    study = study_of(wildcards)
    return as_json({**study.figures.model_dump(mode="json"), "phantom": is_phantom(study)})


def plot_label_analysis_options(wildcards):
    study = study_of(wildcards)
    return as_json({**study.figures.model_dump(mode="json"), "phantom": is_phantom(study)})


def label_figure(name):
    """An output: a figure of the label analysis, with its place in Snakemake's report."""
    return report(
        f"<results>/{{study}}/figures/{name}.png",
        caption="../report/label_analysis.rst",
        category="{study}",
        subcategory="Labels",
        labels={"figure": name.replace("_", " ")},
    )


def receipt_options(wildcards):
    study = study_of(wildcards)
    return as_json(
        {
            "study": wildcards.study,
            "phantom": is_phantom(study),
            "split": wildcards.split,
            "protocol": study.splits[wildcards.split].protocol,
        }
    )


def report_options(wildcards):
    study = study_of(wildcards)
    preset = config.get("preset")
    command = f"snakemake {wildcards.study}{f' --config preset={preset}' if preset else ''}"
    return as_json(
        {
            "study": wildcards.study,
            "title": study.title,
            "description": study.description,
            "labels": study.labels,
            "sources": [
                {
                    "title": s.title,
                    "license": s.license,
                    "citation": s.citation,
                    "url": s.url,
                }
                for s in study.sources.values()
            ],
            "phantom": is_phantom(study),
            "splits": [{"name": name, "protocol": split.protocol} for name, split in study.splits.items()],
            "runs": [reported_entry(study, *run) for run in runs_of(wildcards)],
            "yardsticks": [
                {**yardstick.model_dump(), "kind": study.tasks[yardstick.task].kind}
                for yardstick in ([] if is_phantom(study) else study.yardsticks)
            ],
            "detection_sets": reported_sets(study),
            "command": command,
        }
    )


def overview_options(wildcards):
    entries = [
        {"study": name, "title": study.title, "phantom": is_phantom(study), **reported_entry(study, *run)}
        for name, study in studies_by_default().items()
        for run in runs_in(study)
    ]
    return as_json({"runs": entries})


# --- runs and their files -------------------------------------------------------------------------------------------


def runs_in(study):
    """Each (split, task, model, seed) of a study, once, in the order of its file; an ensemble has one seed."""
    return list(
        dict.fromkeys(
            (run.split, task, model, ENSEMBLE_SEED if model in study.ensembles else seed)
            for run in study.runs
            for task in run.tasks
            for model in run.models
            for seed in run.seeds
        )
    )


def trained_runs(study):
    """The runs that are trained: all but ensembles."""
    return [run for run in runs_in(study) if run[2] in study.models]


def classified_runs(study):
    """The runs of binary tasks: those that the price of leakage is told of."""
    return [run for run in runs_in(study) if study.tasks[run[1]].kind == "binary"]


def compared_runs(study):
    """The runs that answer a question which another task of their split answers too."""
    runs = runs_in(study)
    found = set()
    for question in study.questions.values():
        for split in study.splits:
            answering = [run for run in runs if run[0] == split and run[1] in question.answers]
            if len({task for _, task, _, _ in answering}) > 1:
                found.update(answering)
    return [run for run in runs if run in found]


def seed_runs(study):
    """Ensembles and members, several seeds of a network, repeats of one, and pairs: what compare_seeds compares."""
    runs, repeated = runs_in(study), repeats(study.models)
    found = set()
    for split, task, model, seed in runs:
        if model in study.ensembles:
            members = [(split, task, run.model, run.seed) for run in study.ensembles[model].runs()]
            found.update([(split, task, model, seed), *members])
        seeds = [run for run in runs if run[:3] == (split, task, model)]
        found.update(seeds if len(seeds) > 1 else [])
        alike = [
            run for run in runs if (run[0], run[1], repeated.get(run[2], run[2]), run[3]) == (split, task, model, seed)
        ]
        found.update(alike if len(alike) > 1 else [])
    found.update(paired_runs(study))
    return [run for run in runs if run in found]


def paired_runs(study):
    """The runs of one split, kind, targets and seed that differ in task or network: what stands side by side in pairs."""
    groups = {}
    for split, task, model, seed in trained_runs(study):
        kind = study.tasks[task].kind
        if kind != "detect" and model not in repeats(study.models):
            key = (split, kind, targets_of(study.tasks[task]), seed)
            groups.setdefault(key, []).append((split, task, model, seed))
    return [run for group in groups.values() if len(group) > 1 for run in group]


def for_each_seed_run(pattern, *kinds):
    """An input function: `pattern` for each run of compare_seeds of the job's study, or for those of these kinds."""

    def paths(wildcards):
        study = study_of(wildcards)
        runs = [run for run in seed_runs(study) if not kinds or study.tasks[run[1]].kind in kinds]
        return run_paths(wildcards.study, pattern, runs)

    return paths


def seed_comparison(wildcards):
    """An input function: the study's comparison of seeds and ensembles; nothing where it has none."""
    return [f"<results>/{wildcards.study}/metrics/seeds.json"] if seed_runs(study_of(wildcards)) else []


def answers_of_seed_runs(wildcards):
    """The table of single images of each run of compare_seeds."""
    return answers_of(wildcards, seed_runs(study_of(wildcards)))


def answers_of_compared_runs(wildcards):
    """The table of single images of each compared run."""
    return answers_of(wildcards, compared_runs(study_of(wildcards)))


def answers_of(wildcards, runs):
    """The table of single images of each of these runs, as its kind names it."""
    study = study_of(wildcards)
    return [
        path
        for run in runs
        for table in [IMAGE_TABLES.get(study.tasks[run[1]].kind, "per_image")]
        for path in run_paths(wildcards.study, f"metrics/{RUN_FILES}/{table}.parquet", [run])
    ]


def for_each_compared_run(pattern, *kinds):
    """An input function: `pattern` for each compared run of the job's study, or for those of these kinds."""

    def paths(wildcards):
        study = study_of(wildcards)
        runs = [run for run in compared_runs(study) if not kinds or study.tasks[run[1]].kind in kinds]
        return run_paths(wildcards.study, pattern, runs)

    return paths


def task_comparison(pattern):
    """An input function: a file of the study's comparison of tasks; nothing where no two tasks answer a question."""

    def paths(wildcards):
        return task_comparison_in(wildcards.study, pattern)

    return paths


def task_comparison_in(study_name, pattern):
    return [f"<results>/{study_name}/{pattern}"] if compared_runs(CONFIG.studies[study_name]) else []


def comparisons_of(study):
    """The comparisons of detectors, each with those of its entries that are trained, where at least two are."""
    trained = {run[:3] for run in runs_in(study)}
    found = {}
    for name, one in study.detector_comparisons.items():
        entries = [entry for entry in one.entries if (entry.split, entry.task, entry.model) in trained]
        if len(entries) > 1:
            found[name] = {"title": one.title, "entries": entries}
    return found


def compared_detectors(study):
    """The runs of the entries that are compared."""
    entries = [entry for one in comparisons_of(study).values() for entry in one["entries"]]
    compared = {(entry.split, entry.task, entry.model) for entry in entries}
    return [run for run in runs_in(study) if run[:3] in compared]


def for_each_compared_detector(pattern):
    """An input function: `pattern` for each run of the job's study whose detector is compared."""

    def paths(wildcards):
        return run_paths(wildcards.study, pattern, compared_detectors(study_of(wildcards)))

    return paths


def detector_comparison(wildcards):
    """An input function: the study's comparison of detectors; nothing where none is compared."""
    compared = comparisons_of(study_of(wildcards))
    return [f"<results>/{wildcards.study}/metrics/detector_comparison.json"] if compared else []


def runs_of(wildcards):
    return runs_in(study_of(wildcards))


def run_paths(study_name, pattern, runs=None):
    """`pattern`, with the fields of RUN_FILES in it, for each run of a study, or for these."""
    return [
        f"<results>/{study_name}/{pattern.format(split=split, task=task, model=model, seed=seed)}"
        for split, task, model, seed in (runs_in(CONFIG.studies[study_name]) if runs is None else runs)
    ]


def for_each_run(pattern):
    """An input function: `pattern` for each run of the job's study."""

    def paths(wildcards):
        return run_paths(wildcards.study, pattern)

    return paths


def for_each_trained_run(pattern):
    """An input function: `pattern` for each run of the job's study that is trained."""

    def paths(wildcards):
        return run_paths(wildcards.study, pattern, trained_runs(study_of(wildcards)))

    return paths


def for_each_classified_run(pattern):
    """An input function: `pattern` for each run of a binary task of the job's study."""

    def paths(wildcards):
        return run_paths(wildcards.study, pattern, classified_runs(study_of(wildcards)))

    return paths


def run_figures(wildcards):
    """The figures of each run of the job's study, as its kind names them."""
    return figures_of_runs(wildcards.study)


def for_each_source(pattern):
    """An input function: `pattern`, with {source} in it, for each source of the job's study."""

    def paths(wildcards):
        return [
            f"<results>/{wildcards.study}/{pattern.format(source=source)}" for source in study_of(wildcards).sources
        ]

    return paths


def for_each_split(pattern):
    """An input function: `pattern`, with {split} in it, for each split of the job's study."""

    def paths(wildcards):
        return [f"<results>/{wildcards.study}/{pattern.format(split=split)}" for split in study_of(wildcards).splits]

    return paths


def weights_input(wildcards):
    """What must be there before training: acquired weights, a file of the user's, or nothing."""
    model = study_of(wildcards).models[wildcards.model]
    published = model.published_network()
    if published is not None:
        return f"<results>/weights/{published}.json"
    return [] if model.weights == "none" else model.weights


def model_store(wildcards, input):
    """Where the store is; Snakemake records no parameter that takes `input`, so that moving it reruns nothing."""
    return CONFIG.model_store


def weights_argument(wildcards, input):
    return f"--weights {shlex.quote(str(input.weights))}" if input.weights else ""


def asked_class_weights(wildcards):
    """Weights of the classes of the split, where the task asks for them."""
    if not study_of(wildcards).tasks[wildcards.task].class_weights:
        return []
    return f"<results>/{wildcards.study}/splits/{wildcards.split}/class_weights.json"


def label_analysis(*patterns):
    """An input function: files of the study's label analysis; nothing where it does not ask for one."""

    def paths(wildcards):
        return label_analysis_in(wildcards.study, *patterns)

    return paths


def label_analysis_in(study_name, *patterns):
    if not CONFIG.studies[study_name].label_analysis:
        return []
    return [f"<results>/{study_name}/{pattern}" for pattern in patterns]


def weights_in(study_name):
    """The weights of classes and training images of each split, where the study asks for a label analysis."""
    return [
        path
        for split in CONFIG.studies[study_name].splits
        for path in label_analysis_in(
            study_name, f"splits/{split}/class_weights.json", f"splits/{split}/sampler_weights.parquet"
        )
    ]


def study_figures(wildcards):
    return [f"<results>/{wildcards.study}/figures/{figure}.png" for figure in STUDY_FIGURES]


def metrics_of_all_studies():
    return [path for name in CONFIG.by_default for path in run_paths(name, f"metrics/{RUN_FILES}/metrics.json")]


def job_class(name):
    """Resources: memory and run time of a class, which grow with each attempt. Resources are no reason to rerun a job."""
    mem_mb, minutes = RESOURCE_CLASSES[name]

    def memory(wildcards, attempt):
        return mem_mb * attempt

    def runtime(wildcards, attempt):
        return minutes * attempt

    return {"mem_mb": memory, "runtime": runtime}


def gpus(wildcards):
    """GPUs that a training or prediction job asks the cluster for."""
    return 0 if study_of(wildcards).training.device == "cpu" else 1


# --- targets --------------------------------------------------------------------------------------------------------

STUDY_FIGURES = ["flow", "class_balance", "subset_balance", "leakage"]
TASK_FIGURE = "figures/task_comparison.png"
SET_FIGURES = [f"figures/{SET_FILES}/{name}.png" for name in DETECTION_SET_FIGURES]
LABEL_FIGURES = [f"figures/{name}.png" for name in LABEL_FIGURE_NAMES]


def study_reports():
    return [f"<results>/{name}/report.html" for name in CONFIG.by_default]


def splits_in(study_name):
    return [f"<results>/{study_name}/splits/{split}/receipt.html" for split in CONFIG.studies[study_name].splits]


def all_splits():
    return [path for name in CONFIG.by_default for path in splits_in(name)]


def figures_of_runs(study_name):
    tasks = CONFIG.studies[study_name].tasks
    return [
        path
        for run in runs_in(CONFIG.studies[study_name])
        for figure in KINDS[tasks[run[1]].kind].figures
        for path in run_paths(study_name, f"figures/{RUN_FILES}/{figure}.png", [run])
    ]


def figures_in(study_name):
    return [
        *(f"<results>/{study_name}/figures/{figure}.png" for figure in STUDY_FIGURES),
        *task_comparison_in(study_name, TASK_FIGURE),
        *label_analysis_in(study_name, *LABEL_FIGURES),
        *set_paths(study_name, *SET_FIGURES),
        *figures_of_runs(study_name),
    ]


def exports_of(study_name):
    """The trees of each detection set of a study; not part of `all`."""
    return set_paths(study_name, *(f"exports/{SET_FILES}/{form}.json" for form in EXPORT_FORMATS))


def networks_of(study_name):
    """The ONNX file of each image-level network of a study; not part of `all`."""
    tasks = CONFIG.studies[study_name].tasks
    runs = [run for run in trained_runs(CONFIG.studies[study_name]) if tasks[run[1]].kind in IMAGE_LEVEL]
    return run_paths(study_name, f"exports/{RUN_FILES}/model.onnx", runs)


def all_networks():
    return [path for name in CONFIG.by_default for path in networks_of(name)]


def all_exports():
    return [path for name in CONFIG.by_default for path in exports_of(name)]


def all_figures():
    return [path for name in CONFIG.by_default for path in figures_in(name)]


def study_targets(study_name):
    return [
        f"<results>/{study_name}/report.html",
        *splits_in(study_name),
        *weights_in(study_name),
        *figures_in(study_name),
    ]
