"""What runs again, and what does not: each test makes one change in a finished copy and reads a dry run."""

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
from contextlib import contextmanager
from operator import eq
from pathlib import Path

import pytest
import yaml
from conftest import PRESET

from scanline.core import code_digest

pytestmark = pytest.mark.workflow

# The rules in their order, with those right behind each. What a change must rerun is worked out from this table,
# not from the workflow.
PLOTS = {"plot_classifier", "plot_multilabel", "plot_detector", "plot_segmenter", "plot_study"}
PLOTS |= {"plot_task_comparison", "plot_label_analysis", "plot_detection_set"}
TRAIN = {"train_classifier", "train_detector", "train_segmenter"}
PREDICT = {"predict_classifier", "predict_detector", "predict_segmenter"}
EVALUATE = {"evaluate_classifier", "evaluate_multilabel", "evaluate_detector", "evaluate_segmenter"}
PAGES = {"write_report", "write_overview"}
RECEIPT = "write_receipt"  # a page too, of a split
SETS = {"verify_detection_set", "analyse_detection_set"}
SET_TASKS = ("detect", "detect_augmented")
EXPORTS = {"export_detection_set"}  # no part of all
AVERAGES = {"average_scores", "average_maps"}  # the study has an ensemble of detectors alone
OF_OTHER_KINDS = {"evaluate_multiclass", "plot_multiclass", "export_classifier"}  # none in the study, or no part of all
FOLLOWERS = {
    "record_environment": {"write_report"},
    "acquire_source": {"scan_files", "curate_source", "merge_sources"},
    "scan_files": {"curate_source"},
    "curate_source": {"merge_sources"},
    "merge_sources": {"group_images", "analyse_labels", "cache_pixels", "write_receipt"},
    "group_images": {"split_grouped", "split_naive_image", "verify_split"},
    "split_grouped": {"verify_split", "analyse_labels", "analyse_detection_set"},
    "split_naive_image": {"write_receipt", "analyse_labels", "weigh_labels", *TRAIN},
    "verify_split": {"write_receipt", "weigh_labels", "augment_images", "verify_detection_set", *TRAIN},
    "augment_images": {"merge_augmented"},
    "merge_augmented": {"cache_augmented", *SETS},
    "cache_augmented": {"train_detector"},
    "verify_detection_set": {"write_report"},
    "analyse_detection_set": {"plot_detection_set", "write_report"},
    "analyse_labels": {"plot_label_analysis", "write_report"},
    "weigh_labels": {"train_classifier"},
    "cache_pixels": {"cache_masks", "cache_augmented", *TRAIN},
    "cache_masks": {"train_segmenter"},
    "compare_seeds": {"write_report"},
    "fuse_detections": {"evaluate_detector"},
    "train_classifier": {"predict_classifier"},
    "train_detector": {"predict_detector"},
    "train_segmenter": {"predict_segmenter"},
    "predict_classifier": {"evaluate_classifier", "evaluate_multilabel"},
    "predict_detector": {"evaluate_detector", "fuse_detections"},
    "predict_segmenter": {"evaluate_segmenter"},
    "evaluate_classifier": {"compare_splits", "compare_tasks", "plot_classifier", "write_report", "write_overview"},
    "evaluate_multilabel": {"compare_tasks", "plot_multilabel", "write_report", "write_overview"},
    "evaluate_detector": {
        *("compare_seeds", "compare_tasks", "compare_detectors"),
        *("plot_detector", "write_report", "write_overview"),
    },
    "evaluate_segmenter": {"compare_tasks", "plot_segmenter", "write_report", "write_overview"},
    "compare_splits": {"plot_study", "write_report"},
    "compare_detectors": {"write_report"},
    "compare_tasks": {"plot_task_comparison", "write_report"},
    **{rule: {"write_report"} for rule in PLOTS},
    **{rule: set() for rule in {*PAGES, RECEIPT}},
}
# A module to the first of the rules whose script reaches it; those rules' followers come along. Behind a rule, a part
# of the path of the runs of which alone this is true.
REACHED_BY = {
    "core/tables.py": {"scan_files"},
    "core/scratch.py": TRAIN,
    "core/dicom.py": {"scan_files"},
    "core/slices.py": {"scan_files"},
    "core/volumes.py": {"scan_files"},
    "core/torchvision_compat.py": TRAIN,
    "curate/adapters/pascal_voc.py": {"curate_source"},
    "curate/merge.py": {"merge_sources"},
    "curate/slice_order.py": {"curate_source"},
    "curate/thumbnails.py": {"scan_files"},
    "split/groups.py": {"group_images"},
    "split/near_hashes.py": {"group_images"},
    "split/assign.py": {"split_grouped", "split_naive_image", "verify_split"},
    "split/search.py": {"split_grouped", "split_naive_image", "verify_split"},
    "split/policies.py": {"split_grouped", "split_naive_image", "verify_split"},
    "split/protocols.py": {"split_grouped"},
    "split/stratified.py": {"split_grouped"},
    "split/slice_range.py": {"split_grouped", "split_naive_image", "verify_split"},
    "split/verify.py": {"verify_split", "split_naive_image"},
    "split/naive.py": {"split_naive_image"},
    "split/label_leaks.py": {"analyse_labels"},
    "split/label_weights.py": {"weigh_labels", "train_classifier"},
    "curate/label_statistics.py": {"analyse_labels", "weigh_labels", "train_classifier"},
    "prepare/pixels.py": {"cache_pixels", "cache_augmented"},
    "prepare/windows.py": {"cache_pixels", "cache_augmented", "cache_masks", "augment_images", *SETS},
    "prepare/set_metadata.py": {"analyse_detection_set"},
    "prepare/masks.py": {"cache_masks"},
    "prepare/offline_augmentation.py": {"augment_images"},
    "prepare/augmented_set.py": {"merge_augmented"},
    "prepare/detection_set.py": SETS,
    "prepare/set_evidence.py": {"verify_detection_set"},
    "prepare/coco_export.py": {"verify_detection_set"},
    "prepare/set_statistics.py": {"analyse_detection_set"},
    "train/engine.py": TRAIN,
    "train/batches.py": {"train_classifier", "train_segmenter", "train_detector ssdlite/"},
    "train/label_weights.py": {"train_classifier"},
    "train/label_losses.py": {"train_classifier"},
    "train/schedule.py": TRAIN,
    "train/image_level.py": {"train_classifier"},
    "train/segmentation.py": {"train_segmenter"},
    "train/mask_losses.py": {"train_segmenter"},
    "train/detection.py": {"train_detector"},
    "train/torchvision_detector.py": {"train_detector ssdlite/"},
    "train/ultralytics_detector.py": {"train_detector yolo/"},
    "train/ultralytics_trainer.py": {"train_detector yolo/"},
    "train/ultralytics_options.py": {"train_detector yolo/"},
    "predict/grad_cam.py": {"predict_classifier"},
    "predict/detector.py": {"predict_detector"},
    "predict/test_time_augmentation.py": PREDICT,
    "predict/augmented_detector.py": {"predict_detector"},
    "predict/weighted_boxes.py": {"predict_detector", "fuse_detections"},
    "predict/ensemble.py": {"fuse_detections"},
    "predict/segmenter.py": {"predict_segmenter"},
    "evaluate/bootstrap.py": EVALUATE,
    "evaluate/gap.py": EVALUATE,
    "evaluate/classifier.py": {"evaluate_classifier"},
    "evaluate/multilabel.py": {"evaluate_multilabel", "compare_seeds"},
    "evaluate/average_precision.py": {"evaluate_detector"},
    "evaluate/volumes.py": {"evaluate_detector"},
    "evaluate/surfaces.py": {"evaluate_segmenter"},
    "evaluate/leakage.py": {"compare_splits"},
    "evaluate/task_comparison.py": {"compare_tasks"},
    "evaluate/seeds.py": {"compare_seeds"},
    "evaluate/detector_comparison.py": {"compare_detectors"},
    "figures/style.py": {*PLOTS, RECEIPT},
    "figures/multilabel.py": {"plot_multilabel"},
    "figures/label_analysis.py": {"plot_label_analysis"},
    "figures/detector_examples.py": {"plot_detector"},
    "figures/volumes.py": {"plot_detector"},
    "figures/segmenter_overlays.py": {"plot_segmenter"},
    "figures/study.py": {"plot_study"},
    "figures/detection_set.py": {"plot_detection_set"},
    "report/overview.py": {"write_overview"},
    "report/seeds.py": {"write_report", RECEIPT},
    "report/receipt.py": {"write_receipt"},
    "report/page.py": {*PAGES, RECEIPT},
}
# What no result depends on: what only presents, what fetches, what checks the configuration.
REACHED_BY_NONE = (
    "core/log.py",
    "core/command_line.py",
    "core/cluster_jobs.py",
    "acquire/phantom.py",
    "config.py",
    "curate/adapters/coco.py",
    "curate/adapters/mdai.py",
    "acquire/download.py",
    "acquire/fetch.py",
    "prepare/set_export.py",
    "prepare/png.py",
)
NOTHING: set[str] = set()


def run_of(job: str) -> list[str]:
    """The part of a job's path that says of which split, or run, it is; empty for jobs of all runs.

    Tasks are compared on the split that has several of them; the task multilabel alone asks for weights.
    """
    rule, _, *rest = job.split("/")
    if rule in {"compare_tasks", "plot_task_comparison"}:
        return ["grouped"]
    if rule in {"compare_seeds", "compare_detectors"}:  # of the task that has an ensemble
        return ["grouped", "detect"]
    if rule == "weigh_labels":
        return [*rest, "multilabel"]
    if rule in {"augment_images", "merge_augmented", "cache_augmented"}:  # the task that names the augmentation
        return [rest[0], "detect_augmented"]
    data = {"record_environment", "acquire_source", "scan_files", "curate_source", "cache_pixels", "cache_masks"}
    return [] if rule in data else rest


def and_followers(jobs: set[str], first: set[str]) -> set[str]:
    """Those of `jobs` that are of the rules in `first`, and all that come after them.

    Args:
        jobs: All there are, see `planned_jobs`.
        first: Rules; behind a rule, a part of the path of the runs that are meant.
    """
    found = {job for job in jobs for name, _, run in [entry.partition(" ") for entry in first] if is_of(job, name, run)}
    waiting = list(found)
    while waiting:
        job = waiting.pop()
        rule, run = job.split("/")[0], run_of(job)
        more = {
            other
            for other in jobs - found
            if other.split("/")[0] in FOLLOWERS[rule] and all(map(eq, seen_by(other, run), run_of(other)))
        }
        found |= more
        waiting += more
    return found


def seen_by(job: str, run: list[str]) -> list[str]:
    """The part of a run's path that a job after it has in its own: an ensemble has another name than its members.

    The detectors that are compared are networks alone.
    """
    if job.startswith("compare_detectors/") and any(part.startswith("ensemble") for part in run):
        return ["no", "run"]
    return run[:2] if job.startswith("fuse_detections/") else run


def is_of(job: str, rule: str, run: str) -> bool:
    return job.split("/")[0] == rule and run in job


def library(project) -> Path:
    return project.root / "workflow/scripts/scanline"


def edit_function(path: Path) -> None:
    """Add a statement to the first function of a module that has more than a docstring."""
    text = path.read_text("utf-8")
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    statement = next(
        statement
        for function in functions
        for statement in function.body
        if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Constant)
    )
    lines = text.splitlines(keepends=True)
    lines.insert(statement.lineno - 1, " " * statement.col_offset + "edited = True\n")
    path.write_text("".join(lines), "utf-8")


def reword(path: Path) -> None:
    """Add comments and blank lines to a module, and a sentence to each of its docstrings."""
    text = path.read_text("utf-8")
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            line = node.body[0].lineno - 1
            lines[line] = lines[line].replace('"""', '"""Reworded. ', 1)
    path.write_text("# A remark.\n\n" + "".join(lines) + "\n\n# Another.\n", "utf-8")


def touch(paths) -> None:
    for path in paths:
        os.utime(path)


@pytest.fixture(scope="module")
def all_jobs(finished):
    """All jobs there are; see `planned_jobs`."""
    return finished.planned("--forceall")


@pytest.fixture(scope="module")
def unchanged(finished, tmp_path_factory):
    """A copy of the finished project for changes that `changed` takes back."""
    folder = tmp_path_factory.mktemp("unchanged")
    subprocess.run(["cp", "--archive", finished.root, folder / "project"], check=True)
    return type(finished)(folder / "project")


@contextmanager
def changed(*paths: Path):
    """Give files back what they held before the block."""
    originals = [path.read_text("utf-8") for path in paths]
    try:
        yield
    finally:
        for path, original in zip(paths, originals, strict=True):
            path.write_text(original, "utf-8")


def test_a_second_run_has_nothing_to_do(project):
    before = {path: path.stat().st_mtime_ns for path in project.results.rglob("*") if path.is_file()}
    assert "Nothing to be done" in project.snakemake()
    assert before == {path: path.stat().st_mtime_ns for path in project.results.rglob("*") if path.is_file()}


def test_the_table_of_rules_is_complete(all_jobs):
    assert {job.split("/")[0] for job in all_jobs} == set(FOLLOWERS)
    # 14 before training, 4 for an augmentation, 3 for each of 2 detection sets, 4 for each of 7 models, 3 for an
    # ensemble, 10 for their comparisons and pages, 10 records of environments
    assert len(all_jobs) == 14 + 4 + 6 + 28 + 3 + 10 + 10


def test_touched_files_rerun_nothing(project):
    files = [path for path in project.root.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
    touch(sorted(files, key=lambda path: path.stat().st_mtime, reverse=True))  # the last one made is now the oldest
    assert project.planned() == NOTHING


def test_a_touched_table_reruns_nothing(project):
    touch(project.results.rglob("curated/*.parquet"))
    touch(project.results.rglob("prepared/**/*.*"))
    assert project.planned() == NOTHING


def test_a_fresh_checkout_reruns_nothing(project, finished):
    made = {"results", "data", ".snakemake"}
    for path in project.root.iterdir():
        if path.name not in made:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in finished.root.iterdir():
        if path.is_dir() and path.name not in made:
            shutil.copytree(path, project.root / path.name, copy_function=shutil.copyfile)
        elif path.is_file():
            shutil.copyfile(path, project.root / path.name)
    assert (project.root / "Snakefile").stat().st_mtime > (finished.results / "report.html").stat().st_mtime
    assert project.planned() == NOTHING


def test_comments_and_docstrings_rerun_nothing(project):
    for path in (project.root / "workflow/scripts").rglob("*.py"):
        reword(path)
    for path in project.root.glob("envs/*.yaml"):
        path.write_text("# A remark.\n" + path.read_text("utf-8"), "utf-8")
    assert project.planned() == NOTHING


@pytest.mark.parametrize("module", REACHED_BY)
def test_an_edited_function_reruns_what_reaches_it_and_what_follows(unchanged, all_jobs, module):
    path = library(unchanged) / module
    with changed(path):
        edit_function(path)
        assert unchanged.planned() == and_followers(all_jobs, REACHED_BY[module])


def test_edited_functions_that_no_result_depends_on_rerun_nothing(unchanged):
    paths = [library(unchanged) / module for module in REACHED_BY_NONE]
    with changed(*paths):
        for path in paths:
            edit_function(path)
        assert unchanged.planned() == NOTHING


def test_every_rule_carries_the_digest_of_its_own_script_and_environment():
    """As the rules are written; the rules that fetch have no digest."""
    workflow = Path(__file__).parents[2] / "workflow"
    environments = dict(re.findall(r'"(\w+)": "(envs/\w+.yaml)"', (workflow / "rules/common.smk").read_text("utf-8")))
    files = sorted(path for path in (workflow / "rules").glob("*.smk") if path.name != "common.smk")
    text = "".join(path.read_text("utf-8") for path in files)
    rules = re.split(r"^rule (\w+):$", text, flags=re.MULTILINE)[1:]
    found = dict(zip(rules[::2], rules[1::2], strict=True))
    assert set(found) == set(FOLLOWERS) | {"acquire_weights", *EXPORTS, *AVERAGES, *OF_OTHER_KINDS}
    for rule, body in found.items():
        assert re.findall(r"python workflow/scripts/(\w+)\.py", body) == [rule]
        if not rule.startswith("acquire"):
            own = {"curate_source": "curate_digest", "record_environment": "environment_digest"}
            digest = own.get(rule, rf'(?:code|detector)_digest\("{rule}"\)')
            assert re.search(rf"^        code={digest},$", body, re.MULTILINE), rule
            assert f'"../../{environments.get(rule, "envs/{environment}.yaml")}"' in body, rule


@pytest.mark.parametrize(
    ("file", "old", "new", "first"),
    [
        ("workflow/scripts/scanline/report/study.html.j2", "<", "<!-- -->\n<", {*PAGES, RECEIPT}),
        ("envs/figures.yaml", "matplotlib==", "matplotlib==9.", {*PLOTS, "record_environment figures"}),
        (
            "envs/segment.yaml",
            "segmentation-models-pytorch==",
            "segmentation-models-pytorch==9.",
            {"train_segmenter", "record_environment segment"},
        ),
        (
            "envs/detect.yaml",
            "ultralytics==",
            "ultralytics==9.",
            {"train_detector", "record_environment detect"},
        ),
    ],
)
def test_templates_and_pins_count(unchanged, all_jobs, file, old, new, first):
    path = unchanged.root / file
    assert old in path.read_text("utf-8")
    with changed(path):
        path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
        assert unchanged.planned() == and_followers(all_jobs, first)


# A change of the study, by the preset, and the first of the rules that it reruns.
OPTIONS = {
    "learning rate": ({"training": {"learning_rate": 0.002}}, TRAIN),
    "average of weights": (
        {"training": {"ema_decay": 0.9}},
        {"train_classifier", "train_segmenter", "train_detector ssdlite/"},
    ),
    "option of training at its default": ({"training": {"optimizer": "adamw"}}, NOTHING),
    "mixing": ({"tasks": {"multilabel": {"mixup_alpha": 0.2}}}, {"train_classifier multilabel"}),
    "loss of segmentation": ({"tasks": {"segment": {"loss": "focal"}}}, {"train_segmenter"}),
    "weights of classes": ({"tasks": {"multilabel": {"class_weights": False}}}, {"train_classifier multilabel"}),
    "augmentation of detection": (
        {"tasks": {"detect": {"augmentation": {"crop_min_scale": 0.9}}}},
        {"train_detector /detect/"},
    ),
    "offline augmentation": (
        {"offline_augmentation": {"tripled": {"rotation_degrees": 5}}},
        {"augment_images"},
    ),
    "how originals are linked": ({"offline_augmentation": {"tripled": {"files": "copy"}}}, {"merge_augmented"}),
    "negatives of a detection set": (
        {
            "detection_sets": [
                {"split": "grouped", "tasks": list(SET_TASKS), "negatives": {"share": 0.5, "tolerance": 0.5}}
            ]
        },
        {"verify_detection_set"},
    ),
    "encoder": ({"models": {"linknet": {"encoder": "resnet18"}}}, {"train_segmenter"}),
    "detector": ({"models": {"yolo": {"architecture": "yolo11n"}}}, {"train_detector yolo/"}),
    "training of a network": ({"models": {"ssdlite": {"training": {"epochs": 3}}}}, {"train_detector ssdlite/"}),
    "training of one network": ({"models": {"yolo": {"training": {"epochs": 1}}}}, {"train_detector yolo/"}),
    "resampling": (
        {"evaluate": {"bootstrap_resamples": 101}},
        {*EVALUATE, "compare_splits", "compare_tasks", "compare_seeds", "compare_detectors"},
    ),
    "test-time augmentation": (
        {"models": {"ssdlite": {"test_time_augmentation": {"horizontal_flip": True}}}},
        {"predict_detector ssdlite/"},
    ),
    "fusion of boxes": (
        {"ensembles": {"ensemble_detectors": {"weighted_boxes_fusion": {"iou_threshold": 0.4}}}},
        {"fuse_detections"},
    ),
    "operating point": (
        {"evaluate": {"operating_point": "youden"}},
        {"evaluate_classifier", "evaluate_multilabel"},
    ),
    "when a pixel counts": ({"evaluate": {"masks": {"min_predicted_pixels": 5}}}, {"evaluate_segmenter"}),
    "when a box counts": ({"evaluate": {"boxes": {"iou_threshold": 0.3}}}, {"evaluate_detector"}),
    "how a volume is told": ({"evaluate": {"volumes": {"score": "top_k_mean"}}}, {"evaluate_detector"}),
    "option of a trainer": ({"models": {"yolo": {"ultralytics": {"mosaic": 0.6}}}}, {"train_detector yolo/"}),
    "comparison": (
        {"detector_comparisons": {"families": {"title": "Which family?"}}},
        {"compare_detectors"},
    ),
    "resolution of figures": ({"figures": {"resolution_dpi": 60}}, PLOTS),
    "question": ({"questions": {"haemorrhage_on_slice": {"title": "Is there one?"}}}, {"compare_tasks"}),
    "title": ({"title": "Another"}, PAGES),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_changed_option_reruns_what_carries_it_and_what_follows(unchanged, all_jobs, name):
    values, first = OPTIONS[name]
    with changed(unchanged.preset_file):
        unchanged.change_preset(studies={"phe_sich": values})
        assert unchanged.planned() == and_followers(all_jobs, first)


@pytest.mark.parametrize(
    ("values", "caches", "first"),
    [
        (
            {"pixels": {"image_size_px": 128}},
            {"cache_pixels/phe_sich/128px", "cache_augmented/phe_sich/grouped/tripled/128px"},
            TRAIN - {"train_segmenter"},
        ),
        (
            {"tasks": {"segment": {"image_size_px": 128}}},
            {"cache_pixels/phe_sich/128px", "cache_masks/phe_sich/128px/perihaematomal_oedema"},
            {"train_segmenter"},
        ),
        (
            {"tasks": {"segment": {"image_size_px": 64}}},
            {"cache_masks/phe_sich/64px/perihaematomal_oedema"},
            {"train_segmenter"},
        ),
    ],
)
def test_another_image_size_makes_caches_of_that_size_for_the_tasks_that_see_it(
    unchanged, all_jobs, values, caches, first
):
    with changed(unchanged.preset_file):
        unchanged.change_preset(studies={"phe_sich": values})
        assert unchanged.planned() == caches | and_followers(all_jobs, first)


def test_a_new_figure_option_plots_again(unchanged, all_jobs):
    path = library(unchanged) / "figures/options.py"
    with changed(path):
        path.write_text(
            path.read_text("utf-8") + '    colour: str = Field(default="blue", description="Colour.")\n', "utf-8"
        )
        assert unchanged.planned() == and_followers(all_jobs, {*PLOTS, RECEIPT})


@pytest.mark.parametrize(
    ("task", "model", "seed"),
    [("classify", "tiny_resnet", 42), ("segment", "linknet", 123), ("detect", "ssdlite", 123)],
)
def test_a_run_added_trains_itself_alone(unchanged, all_jobs, task, model, seed):
    run = {"split": "grouped", "tasks": [task], "models": [model], "seeds": [seed]}
    with changed(unchanged.preset_file):
        study = yaml.safe_load(unchanged.preset_file.read_text("utf-8"))["studies"]["phe_sich"]
        models = {"tiny_resnet": {"architecture": "resnet18", "weights": "none"}}
        unchanged.change_preset(studies={"phe_sich": {"models": models, "runs": [*study["runs"], run]}})
        planned = unchanged.planned()
    own = {job for job in planned if job.endswith(f"/grouped/{task}/{model}/seed{seed}")}
    engine, scorer = {
        "classify": ("classifier", "classifier"),
        "segment": ("segmenter", "segmenter"),
        "detect": ("detector", "detector"),
    }[task]
    assert {job.split("/")[0] for job in own} == {
        f"train_{engine}",
        f"predict_{engine}",
        f"evaluate_{scorer}",
        f"plot_{scorer}",
    }
    compared = {"classify": ["compare_splits", "compare_seeds"], "detect": ["compare_detectors", "compare_seeds"]}
    shared = {"compare_tasks", *PAGES, *compared.get(task, ["compare_seeds"])}
    assert planned - own == and_followers(all_jobs, shared)


def test_an_ensemble_added_trains_nothing(unchanged, all_jobs):
    members = [{"model": "ssdlite", "seeds": [42], "weight": 2}, {"model": "yolo", "seeds": [42]}]
    run = {"split": "grouped", "tasks": ["detect"], "models": ["ensemble_weighted"], "seeds": [42]}
    with changed(unchanged.preset_file):
        study = yaml.safe_load(unchanged.preset_file.read_text("utf-8"))["studies"]["phe_sich"]
        values = {"ensembles": {"ensemble_weighted": {"members": members}}, "runs": [*study["runs"], run]}
        unchanged.change_preset(studies={"phe_sich": values})
        planned = unchanged.planned()
    own = {job for job in planned if job.endswith("/grouped/detect/ensemble_weighted/seed0")}
    assert {job.split("/")[0] for job in own} == {"fuse_detections", "evaluate_detector", "plot_detector"}
    assert planned - own == and_followers(all_jobs, {"compare_tasks", "compare_seeds", *PAGES})


@pytest.mark.parametrize(
    ("task", "model", "first"),
    [("classify", "shufflenet", "average_scores"), ("segment", "linknet", "average_maps")],
)
def test_an_ensemble_of_seeds_trains_the_seeds_that_are_missing(unchanged, task, model, first):
    runs = {"split": "grouped", "tasks": [task], "models": [model, "ensemble_seeds"], "seeds": [42, 7]}
    with changed(unchanged.preset_file):
        study = yaml.safe_load(unchanged.preset_file.read_text("utf-8"))["studies"]["phe_sich"]
        ensembles = {"ensemble_seeds": {"members": [{"model": model, "seeds": [42, 7]}]}}
        unchanged.change_preset(studies={"phe_sich": {"ensembles": ensembles, "runs": [*study["runs"], runs]}})
        planned = unchanged.planned()
    assert f"{first}/phe_sich/grouped/{task}/ensemble_seeds/seed0" in planned
    trained = [job for job in planned if job.startswith("train_")]
    assert [job.rpartition("/")[2] for job in trained] == ["seed7"]
    ensemble = {job.split("/")[0] for job in planned if "/ensemble_seeds/" in job}
    kind = {"classify": "classifier", "segment": "segmenter"}[task]
    assert ensemble == {first, f"evaluate_{kind}", f"plot_{kind}"}


def test_an_entry_with_views_shares_the_trained_model(project):
    """Its training job finds the model in the store: the same options give the same key."""
    plain = {"architecture": "ssdlite320_mobilenet_v3_large", "weights": "none", "channels": 1}
    models = {"ssdlite_views": {**plain, "test_time_augmentation": {"horizontal_flip": True}}}
    study = yaml.safe_load(project.preset_file.read_text("utf-8"))["studies"]["phe_sich"]
    run = {"split": "grouped", "tasks": ["detect"], "models": ["ssdlite_views"], "seeds": [42]}
    project.change_preset(studies={"phe_sich": {"models": models, "runs": [*study["runs"], run]}})
    folder = project.results / "phe_sich/models/grouped/detect"
    project.snakemake(str((folder / "ssdlite_views/seed42/run.json").relative_to(project.root)))
    assert (folder / "ssdlite_views/seed42/run.json").samefile(folder / "ssdlite/seed42/run.json")


@pytest.mark.parametrize("task", ["multilabel", "detect", "segment"])
def test_a_run_taken_out_retrains_nothing(unchanged, all_jobs, task):
    with changed(unchanged.preset_file):
        study = yaml.safe_load(unchanged.preset_file.read_text("utf-8"))["studies"]["phe_sich"]
        runs = [{**run, "tasks": [name for name in run["tasks"] if name != task]} for run in study["runs"]]
        unchanged.change_preset(studies={"phe_sich": {"runs": [run for run in runs if run["tasks"]]}})
        assert unchanged.planned() == and_followers(all_jobs, {"compare_tasks", *PAGES})


def test_more_cores_rerun_nothing(project):
    assert project.planned("--cores", "7", "--max-threads", "5", "--set-threads", "train_classifier=2") == NOTHING


def test_more_gpus_rerun_nothing(project, all_jobs):
    resources = [f"{rule}:gpu=2" for rule in sorted(TRAIN)]
    assert project.planned("--set-resources", *resources) == NOTHING
    plan = project.snakemake("--dry-run", "--printshellcmds", "--forceall", "--set-resources", *resources)
    assert plan.count(" --gpus 2 ") == len([job for job in all_jobs if job.split("/")[0] in TRAIN])


CONDA = """#!/bin/sh
case "$*" in
  "info --json") echo '{"conda_prefix": "/opt/conda", "platform": "linux-64", "root_prefix": "/opt/conda"}' ;;
  "--version") echo "conda 25.1.0" ;;
  "config --get channel_priority --json") echo '{"get": {"channel_priority": "strict"}}' ;;
  *) echo '{}' ;;
esac
"""


def test_conda_makes_no_difference(project, tmp_path, all_jobs):
    stand_in = tmp_path / "bin/conda"
    stand_in.parent.mkdir()
    stand_in.write_text(CONDA, "utf-8")
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    with_conda = ("--software-deployment-method", "conda")
    assert project.planned(*with_conda, path=stand_in.parent) == NOTHING
    project.set_preset("figures", resolution_dpi=60)
    assert project.planned(*with_conda, path=stand_in.parent) == and_followers(all_jobs, PLOTS)


def test_identical_bytes_from_upstream_rerun_nothing_later(project):
    project.snakemake("--forcerun", "group_images", "--until", "group_images")
    assert project.planned() == NOTHING


LOADED = """
import importlib, os, sys
import matplotlib.pyplot, pandera.pandas, scipy, sklearn.metrics
for name in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(name)
        print(name, *sorted(module for module in sys.modules if module.startswith("scanline")), flush=True)
        os._exit(0)
    os.wait()
"""


def test_the_digests_cover_all_that_the_scripts_load():
    """What Python itself imports for each script stands in what the digest follows, presentation apart."""
    scripts = Path(__file__).parents[2] / "workflow/scripts"
    names = sorted({*FOLLOWERS, *EXPORTS} - {"acquire_source"})
    found = subprocess.run(
        [sys.executable, "-c", LOADED, *names], cwd=scripts, capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in found.stdout.splitlines()]
    assert [line[0] for line in lines] == names
    for name, *loaded in lines:
        main = code_digest._read_module(scripts / f"{name}.py", "")
        followed = set(code_digest._reached_modules(scripts, main.imports))
        presentation = {f"scanline.core.{module}" for module in ("log", "command_line", "versions", "files")}
        assert set(loaded) - presentation <= followed, name


def test_a_printed_command_runs_by_itself(project):
    target = f"results/{PRESET}/phe_sich/curated/groups.parquet"
    output = project.snakemake("--dry-run", "--printshellcmds", "--force", target)
    command = re.search(r"^ *Shell command: (python .*)$", output, re.MULTILINE)
    assert command is not None
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(command[1], shell=True, cwd=project.root, env={**os.environ, "PATH": path}, check=True)
    assert project.planned() == NOTHING


def test_exports_are_asked_for_and_then_up_to_date(project):
    """No part of all; made once, they are made again where the set changed, and not where a figure did."""
    target, folder = "exports", project.results / "phe_sich/exports/grouped"
    exports = {
        f"export_detection_set/phe_sich/grouped/{task}/{form}" for task in SET_TASKS for form in ("coco", "yolo")
    }
    assert project.planned(target) == exports
    project.snakemake(target)
    assert {path.name for path in folder.glob("detect_augmented/*")} == {"coco", "yolo", "coco.json", "yolo.json"}
    assert project.planned(target) == project.planned() == NOTHING
    path = library(project) / "prepare/set_export.py"
    with changed(path):
        edit_function(path)
        assert project.planned(target) == exports
        assert project.planned() == NOTHING
    sets = [{"split": "grouped", "tasks": list(SET_TASKS), "files": "copy"}]
    project.change_preset(studies={"phe_sich": {"detection_sets": sets}})
    assert project.planned(target, "exports_phe_sich") == exports
    assert project.planned() == NOTHING


def test_another_number_of_shards_gives_the_same_set(project):
    """Byte by byte, so that nothing trains again."""
    folder = project.results / "phe_sich/prepared/grouped/tripled"
    before = {path.name: path.read_bytes() for path in (folder / "train").glob("*.jpg")}
    tables = {path.name: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}
    assert len(before) == 270
    project.change_preset(studies={"phe_sich": {"offline_augmentation": {"tripled": {"shards": 4}}}})
    project.snakemake()
    assert {path.name for path in (folder / "shards").iterdir()} == {"0", "1", "2", "3"}
    assert {path.name: path.read_bytes() for path in (folder / "train").glob("*.jpg")} == before
    assert {path.name: path.read_bytes() for path in folder.glob("*.*") if path.is_file()} == tables
    assert project.planned() == NOTHING


def test_a_set_that_fails_a_check_is_one_line(project):
    sets = [{"split": "grouped", "tasks": ["detect"], "negatives": {"share": 0.5}}]
    project.change_preset(studies={"phe_sich": {"detection_sets": sets}})
    process = project.start("exports")
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    told = [line for line in output.splitlines() if "detection set: negative images in train: found" in line]
    assert len(set(told)) == 1
    assert "expected 50.0%, give or take 2.0%" in told[0]
    assert "Traceback" not in output
    assert not (project.results / "phe_sich/exports").exists()
