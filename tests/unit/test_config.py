import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scanline import config_docs
from scanline.config import check_kinds, load_config, overlay
from scanline.core.errors import InputError
from scanline.train.options import MulticlassTask

REPOSITORY = Path(__file__).parents[2]
MAIN = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
PRESETS = sorted(path.stem for path in (REPOSITORY / "config/presets").glob("*.yaml"))


@pytest.fixture
def project(tmp_path):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    return tmp_path


def edit(project, change):
    """Apply `change` to the phe_sich study file and load the configuration."""
    path = project / "config/studies/phe_sich.yaml"
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values))
    return load_config(MAIN, project)


def ensemble(model, *seeds):
    return {"members": [{"model": model, "seeds": list(seeds)}]}


def label_table(**columns):
    return {"path": "labels.csv", "columns": columns}


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_every_preset_is_valid_and_has_results_of_its_own(preset):
    loaded = load_config({**MAIN, "preset": preset}, REPOSITORY)
    assert loaded.results == ("results" if preset is None else f"results/{preset}")
    assert loaded.model_store == "results/model_store"


def test_presets_change_how_much_and_not_what():
    plain = load_config(MAIN, REPOSITORY).studies["phe_sich"]
    quick = load_config({**MAIN, "preset": "cpu_quick"}, REPOSITORY).studies["phe_sich"]
    assert plain.tasks["classify_augmented"].augmentation.vertical_flip
    assert (quick.sources, quick.splits) == (plain.sources, plain.splits)
    sizes = {name: task.image_size_px for name, task in plain.tasks.items()}
    restored = {name: task.model_copy(update={"image_size_px": sizes[name]}) for name, task in quick.tasks.items()}
    assert restored == plain.tasks
    assert quick.pixels.image_size_px < plain.pixels.image_size_px
    demo = load_config({**MAIN, "preset": "demo"}, REPOSITORY).studies["phe_sich"]
    assert demo.sources["phe_sich_ids"].acquire.method == "phantom"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda v: v.update(modles={}), ["phe_sich.yaml: modles", "unknown key", "'models'"]),
        (
            lambda v: v["tasks"]["classify"].update(agumentation={}),
            ["tasks.classify.agumentation", "unknown key", "'augmentation'"],
        ),
        (
            lambda v: v["models"]["resnet18"].update(architecture="resnet19"),
            ["models.resnet18.architecture", '"resnet19"', "resnet18"],
        ),
        (
            lambda v: v["tasks"]["classify"].update(target="hemorrhage"),
            ["tasks.classify.target", "'hemorrhage'", "Did you mean 'haemorrhage'?"],
        ),
        (
            lambda v: v["splits"]["grouped"].update(ratios={"train": 0.7, "val": 0.2, "test": 0.2}),
            ["splits.grouped.ratios", "sum to 1", "1.1"],
        ),
        (lambda v: v.pop("pixels"), ["phe_sich.yaml: pixels", "found nothing"]),
        (lambda v: v["runs"][0].update(models=["resnet50"]), ["runs.0.models", "'resnet50'"]),
        (lambda v: v["runs"][0].update(split="groped"), ["runs.0.split", "Did you mean 'grouped'?"]),
        (
            lambda v: v["splits"].update(random=v["splits"].pop("naive_image")),
            ["splits.random", "naive_image"],
        ),
        (
            lambda v: v["models"].update({"ResNet-18": v["models"]["resnet18"]}),
            ["models", "'ResNet-18'", "lower-case"],
        ),
        (
            lambda v: v["sources"]["phe_sich_ids"]["curate"].update(annotated_classes=["bleed"]),
            ["sources.phe_sich_ids.curate", "'bleed'"],
        ),
        (
            lambda v: v["sources"]["phe_sich_ids"]["curate"].update(annotated_classes=[]),
            ["tasks.classify.target", "annotators looked for"],
        ),
        (
            lambda v: v["sources"]["phe_sich_ids"]["acquire"].update(method="ftp"),
            ["sources.phe_sich_ids.acquire", "local"],
        ),
        (
            lambda v: v["sources"]["phe_sich_ids"]["curate"].update(adapter="pascal_vok"),
            ["sources.phe_sich_ids.curate.adapter", "'pascal_voc'"],
        ),
        (
            lambda v: v["sources"]["phe_sich_ids"]["curate"]["layout"].update(first_pixel=2),
            ["sources.phe_sich_ids.curate.layout: first_pixel", "found 2"],
        ),
        (
            lambda v: v["yardsticks"][1].update(metrics={"ap50": 0.99}),
            ["yardsticks.1.metrics", "'ap50'", "expected one of ap_10, ap_50", "Did you mean 'ap_50'?"],
        ),
        (
            lambda v: v["yardsticks"][2].update(metrics={"auroc": 0.9}),
            ["yardsticks.2.metrics", "'auroc'", "pooled_dice"],
        ),
        (lambda v: v["yardsticks"][1].update(task="detekt"), ["yardsticks.1.task", "Did you mean 'detect'?"]),
        (lambda v: v["yardsticks"][1].update(split=None), ["yardsticks.1", "data_set, where they used other data"]),
        (lambda v: v["yardsticks"][1].update(data_set="another"), ["yardsticks.1", "either split"]),
        (lambda v: v["yardsticks"][1].pop("source"), ["yardsticks.1.source", "found nothing"]),
        (
            lambda v: v.update(evaluate={"boxes": {"iou_treshold": 0.3}}),
            ["evaluate.boxes.iou_treshold", "unknown key", "Did you mean 'iou_threshold'?"],
        ),
        (
            lambda v: v.update(evaluate={"masks": {"min_predicted_pixels": 0}}),
            ["evaluate.masks.min_predicted_pixels", "found 0", "greater than or equal to 1"],
        ),
        (lambda v: v.update(evaluate={"masks": {"threshold": "otsu"}}), ["evaluate.masks.threshold", "'dice'"]),
        (
            lambda v: v["models"]["resnet18"].update(weights="coco"),
            ["models.resnet18", "resnet18 is no detector", "set imagenet"],
        ),
        (
            lambda v: v["models"]["yolov8n"].update(weights="imagenet"),
            ["models.yolov8n", "no ImageNet weights are known for yolov8n: set weights to coco, none"],
        ),
        (
            lambda v: v["sources"]["phe_sich_ids"]["curate"].update(label_table=label_table(IVH="IVH")),
            ["sources.phe_sich_ids.curate.label_table.columns", "'IVH'", "one of haemorrhage"],
        ),
        (
            lambda v: v["sources"]["phe_sich_ids"]["curate"].update(label_table=label_table(haemorrhage="image")),
            ["label_table.columns.haemorrhage", "which is that of the image"],
        ),
        (
            lambda v: v["sources"]["phe_sich_ids"]["curate"].update(
                label_table=label_table(haemorrhage="IPH", perihaematomal_oedema="IPH")
            ),
            ["label_table.columns.perihaematomal_oedema", "'IPH', which is that of haemorrhage"],
        ),
        (
            lambda v: v.update(ensembles={"yolos": ensemble("yolov8n", 42, 1)}),
            ["ensembles.yolos", "names that begin with ensemble for ensembles", "Rename"],
        ),
        (
            lambda v: v["models"].update(ensemble_yolo=v["models"]["yolov8n"]),
            ["models.ensemble_yolo", "names that begin with ensemble for ensembles, and for nothing else"],
        ),
        (
            lambda v: v.update(ensembles={"ensemble_a": ensemble("yolov8m", 42, 1)}),
            ["ensembles.ensemble_a.members", "'yolov8m'", "Did you mean 'yolov8n'?"],
        ),
        (
            lambda v: v.update(
                ensembles={"ensemble_a": ensemble("yolov8n", 42, 1), "ensemble_b": ensemble("ensemble_a", 0, 1)}
            ),
            ["ensembles.ensemble_b.members", "ensemble_a, an ensemble itself", "Name the members of ensemble_a"],
        ),
        (
            lambda v: v.update(ensembles={"ensemble_a": ensemble("yolov8n", 42, 42)}),
            ["ensembles.ensemble_a", "yolov8n with seed 42 comes twice"],
        ),
        (
            lambda v: v.update(ensembles={"ensemble_a": ensemble("yolov8n", 42)}),
            ["ensembles.ensemble_a", "at least two runs"],
        ),
        (
            lambda v: v.update(
                ensembles={"ensemble_a": ensemble("yolov8n", 42, 1)},
                runs=[{"split": "grouped", "tasks": ["detect"], "models": ["yolov8n", "ensemble_a"], "seeds": [42]}],
            ),
            [
                "runs.0.models",
                "whose member yolov8n, seed 1 is not run for detect on grouped",
                "Add yolov8n with seed 1",
            ],
        ),
        (
            lambda v: v.update(
                ensembles={"ensemble_a": {**ensemble("yolov8n", 42, 1), "weighted_boxes_fusion": {"iou_threshold": 1}}}
            ),
            ["ensembles.ensemble_a.weighted_boxes_fusion.iou_threshold", "found 1", "less than 1"],
        ),
        (
            lambda v: v["models"]["yolov8n"].update(test_time_augmentation={}),
            ["models.yolov8n.test_time_augmentation", "one view is no test-time augmentation"],
        ),
        (lambda v: v["splits"]["grouped"].update(seed="many"), ["splits.grouped.seed", '"many"', "integer"]),
    ],
)
def test_a_wrong_study_file_is_one_line_with_file_key_found_expected(project, change, parts):
    with pytest.raises(InputError) as caught:
        edit(project, change)
    message = str(caught.value)
    assert "\n" not in message
    assert "config/studies/phe_sich.yaml" in message
    for part in parts:
        assert part in message, message


def test_an_ensemble_of_what_is_run_is_taken(project):
    def change(values):
        values["ensembles"] = {"ensemble_yolo": ensemble("yolov8n", 42, 1)}
        run = {"split": "grouped", "tasks": ["detect"], "models": ["ensemble_yolo"], "seeds": [5]}
        values["runs"] = [run, {**run, "models": ["yolov8n"], "seeds": [1, 42]}]

    runs = edit(project, change).studies["phe_sich"].ensembles["ensemble_yolo"].runs()
    assert [run.name for run in runs] == ["yolov8n, seed 42", "yolov8n, seed 1"]
    assert [run.weight for run in runs] == [1, 1]


def test_unknown_study_and_preset_name_the_known_ones(project):
    with pytest.raises(InputError, match=r"'phe_sic'.*one of .*phe_sich"):
        load_config({**MAIN, "studies": ["phe_sic"]}, project)
    with pytest.raises(InputError, match=r"'quick'.*cpu_quick"):
        load_config({**MAIN, "preset": "quick"}, project)


def test_yaml_that_does_not_parse_is_one_line(project):
    (project / "config/studies/phe_sich.yaml").write_text("a: [1")
    with pytest.raises(InputError, match=r"phe_sich\.yaml.*Mend the file"):
        load_config(MAIN, project)


def test_overlay_takes_out_what_is_null():
    assert overlay({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}) == {"a": {"c": 2}}


maps = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda values: st.dictionaries(st.sampled_from("abc"), values, max_size=3),
    max_leaves=8,
)


@given(maps, maps)
def test_overlay_keeps_the_top_and_what_it_does_not_name(base, top):
    merged = overlay(base, top)
    if not isinstance(base, dict) or not isinstance(top, dict):
        assert merged == top
    else:
        assert merged.keys() == base.keys() | top.keys()
        assert all(merged[key] == base[key] for key in base.keys() - top.keys())
        assert all(merged[key] == overlay(base[key], top[key]) for key in base.keys() & top.keys())


def test_generated_configuration_docs_are_fresh():
    assert (REPOSITORY / "config/schema.json").read_text() == config_docs.write_schema(), "run: make docs"
    assert (REPOSITORY / "config/README.md").read_text() == config_docs.write_page(), "run: make docs"


def test_every_option_is_described():
    for definitions in json.loads(config_docs.write_schema()).values():
        for schema in (definitions, *definitions.get("$defs", {}).values()):
            for key, field in schema.get("properties", {}).items():
                assert field.get("description"), f"{schema['title']}.{key}"


def locked_pins(lock="run"):
    """Package to version in a lock, for the Python of the conda environments."""
    from packaging.requirements import Requirement

    environment = {"python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux"}
    pins = {}
    for line in (REPOSITORY / f"requirements/{lock}.lock").read_text().splitlines():
        found = re.match(r"([A-Za-z0-9_.-]+==[^\\]*?)\s*\\?$", line)
        if found:
            requirement = Requirement(found[1])
            if requirement.marker is None or requirement.marker.evaluate(environment):
                pins[requirement.name.lower()] = str(requirement.specifier)
    pins["torch"] = "==" + (REPOSITORY / "requirements/torch.txt").read_text().strip().split("==")[1]
    return pins


@pytest.mark.parametrize("lock", ["test", "benchmark"])
def test_the_other_locks_pin_what_the_workflow_runs_with(lock):
    pins = locked_pins(lock)
    assert {name: pins.get(name) for name in locked_pins()} == locked_pins()
    assert pins.keys() > locked_pins().keys()


@pytest.mark.parametrize("path", sorted((REPOSITORY / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_pin_what_the_lock_pins(path):
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    assert dependencies[:2] == ["python=3.11", "pip"]
    pins = locked_pins()
    for pin in dependencies[2]["pip"]:
        name, version = pin.split("==")
        assert pins[name] == f"=={version}", f"{path.name}: {pin}"


def refused(project, change):
    with pytest.raises(InputError) as caught:
        edit(project, change)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_network_of_another_kind_than_the_task_is_refused(project):
    def change(study):
        study["models"]["yolov8n"] = {"architecture": "yolov8n", "weights": "none"}
        study["runs"][0]["models"] = ["yolov8n"]

    message = refused(project, change)
    assert "yolov8n (yolov8n) for the task classify, which is of kind binary" in message
    assert "expected a network that can classify: " in message


def test_masks_cannot_be_learnt_of_a_class_that_nobody_outlined(project):
    def change(study):
        study["tasks"]["segment"] = {"kind": "segment", "target": "haemorrhage"}

    assert (
        "tasks.segment.target: found 'haemorrhage'; expected a class that some source's annotators outlined"
        in refused(project, change)
    )


def test_boxes_cannot_be_learnt_of_a_class_that_nobody_boxed(project):
    def change(study):
        study["tasks"]["detect"] = {"kind": "detect", "targets": ["perihaematomal_oedema"]}

    assert "expected a class that some source's annotators boxed" in refused(project, change)


def test_a_wrong_key_of_a_task_is_told_by_its_kind(project):
    def change(study):
        study["tasks"]["segment"] = {"kind": "segment", "target": "perihaematomal_oedema", "positiv_share": 0.5}

    assert "Did you mean 'positive_share'?" in refused(project, change)


def test_a_task_may_see_images_of_a_size_of_its_own_and_boxes_are_not_turned(project):
    loaded = edit(project, lambda study: study["tasks"]["segment"].update(image_size_px=320))
    assert loaded.studies["phe_sich"].tasks["segment"].image_size_px == 320

    def turn(study):
        study["tasks"]["detect"]["augmentation"] = {"rotation_degrees": 10}

    assert "tasks.detect.augmentation.rotation_degrees" in refused(project, turn)


def author_table(study):
    """The study with the classes of the author's labels.csv, which no box or mask gives."""
    study["labels"] += ["ivh", "iph", "sah"]
    study["sources"]["phe_sich_ids"]["curate"]["label_table"] = label_table(ivh="IVH", iph="IPH", sah="SAH")


def test_classes_of_a_label_table_can_be_classified(project):
    def change(study):
        author_table(study)
        study["tasks"]["which"] = {"kind": "multilabel", "targets": ["ivh", "iph", "sah"]}
        study["tasks"]["subarachnoid"] = {"kind": "binary", "target": "sah"}

        study["tasks"]["kind_of_bleed"] = {"kind": "multiclass", "targets": ["ivh", "iph", "sah"]}

    loaded = edit(project, change).studies["phe_sich"]
    assert loaded.tasks["which"].targets == loaded.tasks["kind_of_bleed"].targets == ("ivh", "iph", "sah")
    assert loaded.sources["phe_sich_ids"].curate.label_table.columns["iph"] == "IPH"


def test_a_question_of_yes_or_no_is_not_answered_by_classes_that_exclude_another(project):
    def change(study):
        author_table(study)
        study["tasks"]["kind_of_bleed"] = {"kind": "multiclass", "targets": ["ivh", "iph", "sah"]}
        study["questions"]["haemorrhage_on_slice"]["answers"]["kind_of_bleed"] = "iph"

    assert "kind_of_bleed, which is of kind multiclass" in refused(project, change)


def test_without_their_table_such_classes_are_refused(project):
    def change(study):
        study["labels"] += ["sah"]
        study["tasks"]["classify"]["target"] = "sah"

    assert "annotated_classes, mask_class or label_table.columns" in refused(project, change)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"kind": "detect", "targets": ["ivh"]}, "annotators boxed. Add it to a source's annotated_classes"),
        ({"kind": "segment", "target": "ivh"}, "annotators outlined. Add it to a source's mask_class"),
    ],
)
def test_a_label_table_gives_no_boxes_and_no_masks(project, task, expected):
    def change(study):
        author_table(study)
        study["tasks"]["detect"] = task

    assert expected in refused(project, change)


def test_scoring_of_masks_and_boxes_is_set_in_the_study_file(project):
    def change(study):
        study["evaluate"] = {
            "masks": {"threshold": "fixed", "surface_tolerance_px": 2},
            "boxes": {"iou_threshold": 0.3},
        }

    evaluate = edit(project, change).studies["phe_sich"].evaluate
    assert (evaluate.masks.threshold, evaluate.masks.surface_tolerance_px) == ("fixed", 2)
    assert (evaluate.boxes.iou_threshold, evaluate.boxes.score_threshold) == (0.3, "f1")


def test_the_yardsticks_of_the_study_name_what_its_tables_show():
    study = load_config(MAIN, REPOSITORY).studies["phe_sich"]
    shown = {(one.task, one.split, name): value for one in study.yardsticks for name, value in one.metrics.items()}
    assert shown["detect", "naive_image", "image_accuracy"] == 0.974
    assert shown["segment", "naive_image", "specificity"] == 0.9995
    assert shown["segment", None, "patient_dice_median"] == 0.66
    dice, iou = shown["segment", "naive_image", "pooled_dice"], shown["segment", "naive_image", "iou"]
    assert iou == pytest.approx(dice / (2 - dice), abs=5e-4)  # as of pixels counted together


def test_a_yardstick_stands_in_one_place(project):
    def change(**keys):
        return lambda study: study["yardsticks"][0].update(keys)

    assert "either split" in refused(project, change(other_split="theirs"))
    edit(project, change(split=None, other_split="theirs"))
    edit(project, change(subset="external"))


def test_tasks_of_one_name_are_of_one_kind_in_all_studies():
    classify = {"classify": {"kind": "multiclass", "targets": ["normal", "epidural"]}}
    studies = load_config(MAIN, REPOSITORY).studies
    other = studies["ct_hematoma"].model_copy(update={"tasks": {**studies["phe_sich"].tasks}})
    check_kinds({"phe_sich": studies["phe_sich"], "ct_hematoma": other})
    task = MulticlassTask(**classify["classify"])
    with pytest.raises(InputError, match=r"tasks\.classify: found kind multiclass; in phe_sich a task of that name is"):
        check_kinds(
            {
                "phe_sich": studies["phe_sich"],
                "ct_hematoma": other.model_copy(update={"tasks": {"classify": task}}),
            }
        )


def test_the_published_means_stand_beside_the_official_split():
    study = load_config(MAIN, REPOSITORY).studies["chestxray14"]
    official = [one.metrics["auroc"] for one in study.yardsticks if one.split == "official"]
    assert official == [0.745, 0.761, 0.806, 0.807, 0.818, 0.830]
    (chexnet,) = [one for one in study.yardsticks if one.other_split]
    assert chexnet.metrics == {"auroc": 0.841}


def test_the_author_of_ct_hematoma_is_told_inside_and_outside():
    study = load_config(MAIN, REPOSITORY).studies["ct_hematoma"]
    told = {one.subset: one.metrics for one in study.yardsticks}
    assert told == {"test": {"accuracy": 0.61, "f1": 0.63}, "external": {"accuracy": 0.52, "f1": 0.52}}
    assert study.splits["grouped"].external_sources == ("external",)


def test_excluded_classes_are_labels_of_the_study_and_no_targets(project):
    def change(name):
        return lambda study: study["tasks"]["detect"].update(excluded_classes=[name])

    for name in ("haemorrhage", "fracture"):
        message = refused(project, change(name))
        assert f"tasks.detect.excluded_classes: found '{name}'; expected one of perihaematomal_oedema" in message
    edit(project, change("perihaematomal_oedema"))


def test_a_class_is_used_or_ignored(project):
    def change(study):
        study["sources"]["phe_sich_ids"]["curate"]["ignored_classes"] = ["a"]

    assert "not in both as 'a' is" in refused(project, change)


@pytest.mark.parametrize("key", ["license", "citation", "url"])
def test_every_source_says_its_licence_and_what_to_cite(project, key):
    message = refused(project, lambda study: next(iter(study["sources"].values())).pop(key))
    assert f".{key}: found nothing; expected a value" in message


def test_offline_augmentations_and_detection_sets_are_by_name(project):
    def change(study):
        study["offline_augmentation"] = {"tripled": {"factor": 3}}
        study["tasks"]["detect"]["offline_augmentation"] = "tripled"
        study["detection_sets"] = [{"split": "grouped", "tasks": ["detect"]}]

    study = edit(project, change).studies["phe_sich"]
    assert study.offline_augmentation["tripled"].vertical_flip == 0
    assert study.detection_sets[0].files == "hard_link"


@pytest.mark.parametrize(
    ("section", "value", "words"),
    [
        ("tasks", {"offline_augmentation": "doubled"}, "tasks.detect.offline_augmentation: found 'doubled'"),
        ("sets", [{"split": "naive_image", "tasks": ["detect"]}], "detection_sets.0.split: found 'naive_image'"),
        ("sets", [{"split": "grouped", "tasks": ["classify"]}], "detection_sets.0.tasks: found 'classify'"),
        ("sets", [{"split": "grouped", "tasks": ["detect", "detect"]}], "found detect on grouped again"),
        ("augmentation", {"factor": 1}, "offline_augmentation.tripled.factor: found 1"),
        ("augmentation", {"factor": 3, "rotate": 5}, "offline_augmentation.tripled.rotate: found an unknown key"),
        ("name", {"factor": 3}, "offline_augmentation: found 'Tripled'"),
    ],
)
def test_a_wrong_augmentation_or_detection_set_is_one_line(project, section, value, words):
    def change(study):
        study["offline_augmentation"] = {"tripled": {"factor": 3}}
        if section == "tasks":
            study["tasks"]["detect"] |= value
        elif section == "sets":
            study["detection_sets"] = value
        else:
            study["offline_augmentation"] = {"tripled" if section == "augmentation" else "Tripled": value}

    assert words in refused(project, change)


def test_weights_of_images_do_not_go_with_an_offline_augmentation(project):
    def change(study):
        study["offline_augmentation"] = {"tripled": {"factor": 3}}
        study["tasks"]["classify"] |= {"offline_augmentation": "tripled", "sampler_weights": True}

    assert "either sampler_weights or offline_augmentation" in refused(project, change)


def test_a_segmentation_task_has_no_offline_augmentation(project):
    def change(study):
        study["offline_augmentation"] = {"tripled": {"factor": 3}}
        study["tasks"]["segment"]["offline_augmentation"] = "tripled"

    assert "tasks.segment.offline_augmentation: found an unknown key" in refused(project, change)


def test_batches_in_parts_are_of_image_level_tasks_alone(project):
    def change(study):
        study["models"]["unet"]["training"] = {"accumulation_steps": 2}

    assert "accumulation_steps 2; expected 1: batches of image-level tasks alone" in refused(project, change)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"kind": "multiclass", "targets": ["haemorrhage", "perihaematomal_oedema"], "loss": "asymmetric"}, "loss"),
        ({"kind": "binary", "target": "haemorrhage", "asymmetric_gamma": [-1, 4]}, "two exponents of at least 0"),
        ({"kind": "binary", "target": "haemorrhage", "augmentation": {"policy": "knee"}}, "augmentation.policy"),
    ],
)
def test_what_a_loss_or_a_policy_cannot_be_is_told(project, task, expected):
    def change(study):
        study["tasks"]["which"] = task

    assert expected in refused(project, change)


def test_a_policy_stands_for_its_values_and_given_ones_win(project):
    def change(study):
        study["tasks"]["classify"]["augmentation"] = {"policy": "head_ct", "contrast": 0}

    found = edit(project, change).studies["phe_sich"].tasks["classify"].augmentation
    assert (found.policy, found.contrast, found.rotation_degrees, found.horizontal_flip) == (None, 0, 10, True)
    assert type(found)(**found.model_dump(exclude_defaults=True)) == found


def test_imagenets_statistics_are_of_three_channels(project):
    def change(study):
        study["models"]["resnet18"] = {"architecture": "resnet18", "channels": 1, "statistics": "imagenet"}

    assert "ImageNet's are of 3 channels" in refused(project, change)
