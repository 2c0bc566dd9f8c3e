"""The tasks side by side: the figure, the section of the report, and the questions of a study file."""

import copy
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from answering_runs import make_run, make_runs, make_truth, noisy_score, options_of, run_of

import plot_task_comparison
from scanline.config import load_config
from scanline.core.errors import InputError
from scanline.core.files import write_json
from scanline.evaluate.task_comparison import compare_tasks
from scanline.figures.task_comparison import rows_of_figure, tell_one_class
from scanline.report.headline import Cell
from scanline.report.task_comparison import describe_task_comparison

REPOSITORY = Path(__file__).parents[2]
MAIN = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())


@pytest.fixture(scope="module")
def summary():
    split, labels, table = make_truth()
    second = make_run(table, run_of("classify", "net", 2), noisy_score(table, 9))
    runs = [*make_runs(table), second]
    return compare_tasks(runs, {"grouped": split}, labels, options_of(runs)).summary


def draw(values, folder, monkeypatch, *, phantom=False):
    write_json(folder / "c.json", values)
    options = json.dumps({"phantom": phantom, "resolution_dpi": 60})
    words = ["--options", options, "--comparison", str(folder / "c.json"), "--figure", str(folder / "f.png")]
    monkeypatch.setattr(sys, "argv", ["plot_task_comparison.py", *words])
    plot_task_comparison.main()
    return hashlib.sha256((folder / "f.png").read_bytes()).hexdigest()


def test_the_figure_has_the_same_bytes_each_time_and_shows_its_numbers(summary, tmp_path, monkeypatch):
    first = draw(summary, tmp_path, monkeypatch)
    assert first == draw(summary, tmp_path, monkeypatch)
    assert first != draw(summary, tmp_path, monkeypatch, phantom=True)
    changed = copy.deepcopy(summary)
    changed["comparisons"][0]["runs"][2]["patient"]["metrics"]["recall"]["value"] = 0.123
    assert first != draw(changed, tmp_path, monkeypatch)
    changed = copy.deepcopy(summary)
    changed["comparisons"][0]["levels"]["patient"] |= {"positives": 7, "negatives": 1}
    assert first != draw(changed, tmp_path, monkeypatch), "why patients are undefined is told"


def test_seeds_of_one_network_share_a_row(summary):
    rows = rows_of_figure(summary["comparisons"][0])
    assert [[(run["task"], run["seed"]) for run in row] for row in rows] == [
        [("classify", 1), ("classify", 2)],
        [("multilabel", 1)],
        [("detect", 1)],
        [("segment", 1)],
    ]


def test_several_questions_and_undefined_values_are_drawn(summary, tmp_path, monkeypatch):
    values = copy.deepcopy(summary)
    second = copy.deepcopy(values["comparisons"][0])
    for run in second["runs"]:
        for level in ("image", "patient"):
            for metric in run[level]["metrics"].values():
                metric |= {"value": None, "low": None, "high": None}
    values["comparisons"].append({**second, "split": "naive_image"})
    assert draw(values, tmp_path, monkeypatch) != draw(summary, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("positives", "negatives", "words"),
    [
        (8, 0, "every patient of test has bleed"),
        (0, 8, "no patient of test has bleed"),
        (4, 4, ""),
        (0, 0, ""),
    ],
)
def test_a_level_of_one_class_is_told(summary, positives, negatives, words):
    comparison = copy.deepcopy(summary["comparisons"][0])
    cases = positives + negatives
    comparison["levels"]["patient"] = {"cases": cases, "positives": positives, "negatives": negatives}
    assert tell_one_class(comparison, "patient") == words


@pytest.fixture
def section(summary, tmp_path, monkeypatch):
    draw(summary, tmp_path, monkeypatch)
    return describe_task_comparison(summary, tmp_path / "f.png")


def test_the_words_tell_images_answers_stand_ins_and_what_is_undefined(section):
    (comparison,) = section.comparisons
    words = " ".join(comparison.words)
    for part in (
        "All 5 runs are measured on the same 48 images of 8 patients of test",
        "No image is left out.",
        "The task segment answers by oedema: a stand-in",
        "the threshold that each task's own evaluation froze on val",
        "the one with the best AUROC for this question on val stands for it",
        "Every patient of test has bleed",
        "of patients the sensitivity alone can be measured. Their specificity, AUROC and AUPRC are undefined",
    ):
        assert part in words, part
    assert "AUROC 0." in section.picture.alt


@pytest.mark.usefixtures("section")
def test_left_out_images_are_told_with_their_reasons(summary, tmp_path):
    values = copy.deepcopy(summary)
    values["comparisons"][0] |= {
        "left_out": [{"reason": "bleed unknown", "images": 1200}, {"reason": "scored by none", "images": 3}],
        "patients_left_out": 2,
        "images_without_patient": 4,
        "thresholds": "question",
    }
    words = " ".join(describe_task_comparison(values, tmp_path / "f.png").comparisons[0].words)
    assert "Left out: 1,203 images (1,200 bleed unknown; 3 scored by none), and with them 2 whole patients." in words
    assert "4 images of unknown patient count among images alone." in words
    assert "chosen for this question on val, by one rule for all" in words


def test_the_tables_hold_the_numbers_of_the_file(summary, section):
    images, patients, differences, agreement = section.comparisons[0].tables
    (values,) = summary["comparisons"]
    assert images.heads == ("Run", "AUROC", "AUPRC", "Sensitivity", "Specificity", "F1", "Accuracy")
    for table, level in ((images, "image"), (patients, "patient")):
        assert [row.cells[0] for row in table.rows] == [run[level]["metrics"]["auroc"] for run in values["runs"]]
        assert [row.cells[3] for row in table.rows] == [run[level]["metrics"]["specificity"] for run in values["runs"]]
    assert patients.rows[0].cells[0]["reason"] == "no patient is negative"
    assert "8 positive, 0 negative" in patients.caption
    assert [row.name for row in differences.rows][:2] == ["classify − multilabel", "classify − detect"]
    assert len(differences.rows) == 6
    assert len(differences.heads) == len(differences.rows[0].cells) + 1
    assert isinstance(differences.rows[0].cells[0], Cell)
    assert sum(row.cells[2] for row in agreement.rows) == 48
    assert [row.name for row in agreement.rows][:2] == ["All are right", "Only classify is wrong"]


@pytest.fixture
def project(tmp_path):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    return tmp_path


def load(project, change, preset=None):
    """Apply `change` to the study file and `preset` to a new preset, and load the configuration."""
    path = project / "config/studies/phe_sich.yaml"
    values = yaml.safe_load(path.read_text())
    change(values["questions"]["haemorrhage_on_slice"])
    path.write_text(yaml.safe_dump(values))
    main = MAIN
    if preset is not None:
        (project / "config/presets/own.yaml").write_text(yaml.safe_dump({"studies": {"phe_sich": preset}}))
        main = {**MAIN, "preset": "own"}
    return load_config(main, project).studies["phe_sich"]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            lambda q: q["answers"].update(clasify=q["answers"].pop("classify")),
            ["questions.haemorrhage_on_slice.answers", "'clasify'", "Did you mean 'classify'?"],
        ),
        (
            lambda q: q["answers"].update(segment="haemorrhage"),
            ["answers.segment", "found 'haemorrhage'; expected one of perihaematomal_oedema"],
        ),
        (
            lambda q: q["answers"].update(multilabel="perihaematomal_edema"),
            ["answers.multilabel", "Did you mean 'perihaematomal_oedema'?"],
        ),
        (
            lambda q: q.update(label="hemorrhage"),
            ["questions.haemorrhage_on_slice.label", "Did you mean 'haemorrhage'?"],
        ),
        (lambda q: q.update(answers={"classify": "haemorrhage"}), ["answers", "at least 2"]),
        (lambda q: q.update(lable="haemorrhage"), ["unknown key", "Did you mean 'label'?"]),
        (lambda q: q.update(thresholds="own"), ["thresholds", "'task' or 'question'"]),
    ],
)
def test_a_wrong_question_is_one_line(project, change, parts):
    with pytest.raises(InputError) as caught:
        load(project, change)
    message = str(caught.value)
    assert "\n" not in message
    assert "config/studies/phe_sich.yaml: questions" in message
    for part in parts:
        assert part in message, message


def test_a_question_about_a_class_that_nobody_looked_for_is_refused(project):
    path = project / "config/studies/phe_sich.yaml"
    path.write_text(path.read_text().replace("labels: [haemorrhage,", "labels: [tumour, haemorrhage,"))
    with pytest.raises(InputError, match="found 'tumour'; expected a class that some source's annotators looked for"):
        load(project, lambda q: q.update(label="tumour"))


def test_a_preset_takes_questions_and_answers_out(project):
    whole = load(project, lambda q: None)
    assert set(whole.questions["haemorrhage_on_slice"].answers) == {"classify", "multilabel", "detect", "segment"}
    assert load(project, lambda q: None, {"questions": {"haemorrhage_on_slice": None}}).questions == {}
    assert load(project, lambda q: None, {"questions": None}).questions == {}
    fewer = load(project, lambda q: None, {"questions": {"haemorrhage_on_slice": {"answers": {"detect": None}}}})
    assert set(fewer.questions["haemorrhage_on_slice"].answers) == {"classify", "multilabel", "segment"}
