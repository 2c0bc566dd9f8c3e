import base64
import copy
import json
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from sample_results import RUNS, SPLITS, make_receipt, make_run, make_study, metric

import write_overview
import write_report
from scanline.core.errors import InputError
from scanline.core.files import read_json, write_json
from scanline.core.tables import REJECTS, read_table
from scanline.report.kinds import KINDS
from scanline.report.options import ReportOptions
from scanline.report.page import embed_png, render
from scanline.report.study import (
    STUDY_FIGURES,
    StudyFiles,
    count_rejects,
    describe_flow,
    describe_study,
    named_figures,
)
from scanline.report.words import judge_split

RUN_FIGURES = KINDS["binary"].figures

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img", "br", "link", "hr"}


class Page(HTMLParser):
    """Collects text, attributes, ids; checks that tags are nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        self.text = re.sub(r"\s+", " ", "".join(self.words))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def values(self, attribute):
        return [found[attribute] for _, found in self.tags if attribute in found]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study = make_study(folder)
    runs = [make_run(folder / f"run{place}", study, place + 1) for place in range(len(RUNS))]
    picture = folder / "figure.png"
    picture.write_bytes(PNG)
    return study, runs, picture


@pytest.fixture
def options():
    source = {
        "title": "A & B's <data>",
        "license": "CC BY 4.0",
        "citation": "Someone, 2023.",
        "url": "https://x.org/1",
    }
    values = {
        "study": "phe_sich",
        "title": "Bleeding <script>alert(1)</script> & more",
        "description": "Does a slice show the haemorrhage?",
        "labels": ["haemorrhage", "perihaematomal_oedema"],
        "sources": [source],
        "phantom": True,
        "splits": [{"name": split, "protocol": split} for split in SPLITS],
        "runs": [{**run, "protocol": run["split"]} for run in RUNS],
        "yardsticks": [
            {
                "name": "the author",
                "source": "told by the author",
                "split": "naive_image",
                "task": "classify",
                "kind": "binary",
                "metrics": {"accuracy": 0.98765},
            }
        ],
        "command": "snakemake phe_sich --config preset=demo",
    }
    return ReportOptions.model_validate(values)


@pytest.fixture
def files(sample):
    study, runs, picture = sample
    return StudyFiles(
        flow=read_json(study["flow"]),
        rejects=read_table(study["rejects"], REJECTS),
        receipts=[read_json(study[f"receipt_{split}"]) for split in SPLITS],
        metrics=[read_json(run["metrics"]) for run in runs],
        runs=[read_json(run["run"]) for run in runs],
        comparison=read_json(study["comparison"]),
        study_figures=dict.fromkeys(STUDY_FIGURES, picture),
        run_figures=[dict.fromkeys(RUN_FIGURES, picture) for _ in runs],
    )


def page(options, files):
    text = render("study.html.j2", describe_study(options, files))
    return text, Page(text)


def changed(files, **changes):
    values = {name: copy.deepcopy(getattr(files, name)) for name in files.__dataclass_fields__}
    return StudyFiles(**{**values, **changes})


def test_the_page_is_self_contained_and_accessible(options, files):
    text, parsed = page(options, files)
    assert text.startswith("<!DOCTYPE html>")
    assert '<html lang="en">' in text
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert not [tag for tag, _ in parsed.tags if tag in {"script", "link", "iframe", "object"}]
    assert all(source.startswith("data:image/png;base64,") for source in parsed.values("src"))
    assert "url(" not in text
    assert "@import" not in text
    pictures = [found for tag, found in parsed.tags if tag == "img"]
    assert len(pictures) == len(STUDY_FIGURES) + len(RUNS) * len(RUN_FIGURES)
    assert all(found["alt"].strip() for found in pictures)
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    inner = [link.removeprefix("#") for link in parsed.values("href") if link.startswith("#")]
    assert set(inner) <= set(ids)
    assert set(parsed.values("aria-labelledby")) <= set(ids)
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert text == page(options, files)[0]


def make_record(name, rules, digest, **versions):
    record = {"environment": name, "rules": rules, "digest": digest, "python": "3.11.9", "platform": "linux-x86_64"}
    return {**record, "distributions": versions}


def test_what_was_installed_stands_once_for_environments_that_are_alike(options, files):
    assert "What was installed" not in page(options, files)[1].text
    records = [
        make_record("curate", ["scan_files", "cache_pixels"], "a" * 16, pandas="3.1.1", tqdm="4.70.1"),
        make_record("train", ["train_classifier"], "b" * 16, pandas="3.1.1", torch="2.13.0+cpu"),
        make_record("split", ["verify_split"], "a" * 16, pandas="3.1.1", tqdm="4.70.1"),
    ]
    _, parsed = page(options, changed(files, environments=records))
    alike = f"curate, split{'a' * 16}scan_files, cache_pixels, verify_split3.11.9linux-x86_642"
    assert alike in parsed.text
    assert f"train{'b' * 16}train_classifier3.11.9linux-x86_642" in parsed.text
    assert parsed.text.count("pandas 3.1.1, tqdm 4.70.1") == 1
    assert parsed.text.count("pandas 3.1.1, torch 2.13.0+cpu") == 1
    links = {link for link in parsed.values("href") if "environments" in link}
    assert links == {f"../environments/{name}.json" for name in ("curate", "train", "split")}


def test_special_characters_are_text(options, files):
    text, parsed = page(options, files)
    assert "<script" not in text
    assert "Bleeding <script>alert(1)</script> & more" in parsed.text
    assert "A & B's <data>" in parsed.text
    bad = options.sources[0].model_copy(update={"url": "javascript:alert(1)"})
    _, parsed = page(options.model_copy(update={"sources": (bad,)}), files)
    assert not [link for link in parsed.values("href") if link.startswith("javascript")]


def test_licence_and_citation_of_each_source_stand_on_the_page(options, files):
    text, _ = page(options, files)
    assert "<dt>Licence</dt><dd>CC BY 4.0</dd>" in text
    assert "<dt>Cite</dt><dd>Someone, 2023.</dd>" in text
    assert 'href="https://x.org/1"' in text


def test_the_phantom_banner_stands_only_on_phantoms(options, files):
    banner = "It is a phantom: drawn, not measured; no number here says anything about patients."
    assert banner in page(options, files)[1].text
    assert "phantom" not in page(options.model_copy(update={"phantom": False}), files)[1].text.lower()


@pytest.mark.parametrize("place", range(len(RUNS)))
@pytest.mark.parametrize("name", ["accuracy", "f1", "auroc", "auprc", "recall", "specificity", "mcc", "npv"])
def test_every_metric_on_the_page_is_read_from_its_file(options, files, place, name):
    metrics = copy.deepcopy(files.metrics)
    metrics[place]["subsets"]["test"]["metrics"][name] = {
        "value": 0.12345,
        "low": 0.11111,
        "high": 0.13131,
        "reason": None,
    }
    before, after = page(options, files)[1].text, page(options, changed(files, metrics=metrics))[1].text
    assert "0.123 [0.111, 0.131]" not in before
    assert "0.123 [0.111, 0.131]" in after


def test_the_other_files_reach_the_page_too(options, files):
    runs, receipts, comparison = (copy.deepcopy(x) for x in (files.runs, files.receipts, files.comparison))
    flow, metrics = copy.deepcopy(files.flow), copy.deepcopy(files.metrics)
    runs[1] |= {
        "images_per_second": 98765.4,
        "best_epoch": 77,
        "git_commit": "feedbeef",
        "parameters": 1234567,
    }
    receipts[0]["subsets"]["val"]["images"] = 54321
    receipts[1]["leaks"]["patient_id"]["test_images"] = 43210
    comparison["differences"][0]["metrics"]["f1"] = {"value": -0.0567, "low": -0.1, "high": 0.02}
    flow["sources"]["source_a"]["files"] += 70000
    flow["sources"]["source_a"]["other"] += 70000
    metrics[0]["threshold"] = 0.31415
    metrics[0]["interval"] |= {"resamples": 7654, "level": 0.9}
    metrics[2]["subsets"]["test"]["per_class"]["macro"]["f1"] = metric(0.4242)
    metrics[2]["subsets"]["test"]["confusion"]["fp"] = 8888
    text, parsed = page(
        options,
        changed(files, runs=runs, receipts=receipts, comparison=comparison, flow=flow, metrics=metrics),
    )
    for words in (
        "98765.4",
        "77 (of 8 at most",
        "feedbeef",
        "1,234,567 parameters",
        "54,321",
        "43,210",
        "−0.057 [−0.100, +0.020]",
        "70,715",
        "70,001",
        "0.314",
        "7,654 bootstrap resamples",
        "90% intervals",
        "0.424",
    ):
        assert words in parsed.text, words
    assert "8,888 false positives" in text
    assert "0.98765 as reported" in parsed.text
    assert "not reported" in parsed.text


def test_an_undefined_metric_shows_its_reason(options, files):
    metrics = copy.deepcopy(files.metrics)
    metrics[0]["subsets"]["test"]["metrics"]["auroc"] = metric(None, reason="only one class in test")
    text = page(options, changed(files, metrics=metrics))[1].text
    assert text.count("undefined: only one class in test") == 2


def test_rejects_are_counted_by_reason_and_their_paths_stay_private(options, files):
    rows = count_rejects(files.rejects)
    assert [(row["action"], row["reason"], row["entries"]) for row in rows] == [
        ("refused", "damaged", 2),
        ("repaired", "name_digits", 3),
        ("noted", "box_without_mask", 1),
        ("noted", "mask_without_box", 1),
    ]
    text = page(options, files)[0]
    assert "013_00.xml" not in text
    assert "patient 13" not in text
    nothing = changed(files, rejects=files.rejects.iloc[:0])
    assert "Nothing was refused, repaired or noted." in page(options, nothing)[1].text


def test_splits_are_judged_in_plain_words(options, files):
    text = page(options, files)[1].text
    assert (
        "Leak-free: no patient, volume, original, file, near-duplicate or group of images stands in two subsets."
        in text
    )
    assert "not compared" not in text
    assert "This split leaks: 48 test images (100.0%) share their patient with train." in text


def test_what_a_gate_could_not_compare_is_not_said_to_be_free_of_leaks():
    receipt = make_receipt("grouped", 240)
    for key in ("volume_id", "sha256", "near_duplicate"):
        receipt["leaks"][key] = {**receipt["leaks"][key], "compared": 0}
    said = judge_split(receipt)
    assert "no patient, original or group of images stands in two subsets" in said
    assert said.endswith("Not known here, so not compared: volume, file and near-duplicate.")


def test_a_fixed_threshold_is_called_fixed(options, files):
    metrics = copy.deepcopy(files.metrics)
    for values in metrics:
        values |= {"threshold": 0.5, "threshold_rule": "fixed", "threshold_from": "configuration"}
    text = page(options, changed(files, metrics=metrics))[1].text
    assert "at the threshold fixed beforehand" in text
    assert "configuration" not in text


def test_a_target_and_a_temperature_are_told(options, files):
    metrics = copy.deepcopy(files.metrics)
    for values in metrics:
        values |= {"threshold_rule": "sensitivity", "threshold_target": 0.95, "temperature": 1.7}
    text = page(options, changed(files, metrics=metrics))[1].text
    assert "reaches a sensitivity of 0.950 at the highest specificity on val" in text
    assert "divided by a temperature of least log loss on val" in text


def test_subgroups_stand_with_their_warnings(options, files):
    text = page(options, files)[1].text
    assert "Subgroups of test by sex." in text
    assert "few patients: 4 in all (fewer than 30)" in text
    assert text.index("malefew patients: 4") < text.index("female")


def test_maps_are_compared_with_boxes_and_with_chance(options, files):
    text = page(options, files)[1].text
    assert "In 18 positive test images with a box" in text
    assert "0.810 [0.790, 0.830] of them (pointing game; a random cell would in 0.060)" in text
    assert "2 more have a map that is zero everywhere" in text
    metrics = copy.deepcopy(files.metrics)
    for values in metrics:
        values["localization"] = {"test": None}
    assert "pointing game" not in page(options, changed(files, metrics=metrics))[1].text


def test_external_stands_beside_test_with_the_gap(options, files):
    assert "Test against external" not in page(options, files)[1].text
    metrics = copy.deepcopy(files.metrics)
    for values in metrics:
        values["subsets"]["external"] = values["subsets"]["test"]
        values["gap"] = {"auroc": {"value": 0.0876, "low": 0.02, "high": 0.15, "reason": None}}
    text = page(options, changed(files, metrics=metrics))[1].text
    assert "Test against external" in text
    assert "+0.088" in text


def test_without_a_naive_split_there_is_no_price_of_leakage(options, files):
    for comparison in (None, {"rows": [], "differences": []}):
        text = page(options, changed(files, comparison=comparison))[1].text
        assert "price of leakage" not in text.lower()


def test_several_seeds_show_their_spread(options, files):
    second = options.runs[0].model_copy(update={"seed": 7})
    runs = (options.runs[0], second)
    metrics = [copy.deepcopy(files.metrics[0]) for _ in runs]
    for values, accuracy in zip(metrics, (0.8, 0.9), strict=True):
        values["subsets"]["test"]["metrics"]["accuracy"] = metric(accuracy)
    metrics[1]["subsets"]["test"]["metrics"]["auroc"] = metric(None)
    few = changed(files, metrics=metrics, runs=files.runs[:2], run_figures=files.run_figures[:2])
    text = page(options.model_copy(update={"runs": runs}), few)[1].text
    assert "resnet18, classify, 2 seeds" in text
    assert "0.850 0.800 to 0.900" in text
    assert "(1 of 2 seeds)" in text


def test_the_clusters_of_the_intervals_are_named(options, files):
    metrics = copy.deepcopy(files.metrics)
    metrics[0]["interval"]["clustered_by"] = "group"
    metrics[1]["interval"]["clustered_by"] = "image_id"
    text = page(options, changed(files, metrics=metrics))[1].text
    assert "Whole patients are drawn with replacement" in text
    assert "Groups are drawn with replacement" in text
    assert "Images are drawn with replacement one by one" in text


def test_lists_that_do_not_fit_are_one_clear_line(options, files, tmp_path):
    with pytest.raises(InputError, match="--metrics: found 2 files; expected 3"):
        describe_study(options, changed(files, metrics=files.metrics[:2]))
    with pytest.raises(InputError, match="found 1 files; expected flow, class_balance"):
        named_figures(STUDY_FIGURES, [tmp_path])
    flow = copy.deepcopy(files.flow)
    flow["sources"]["source_a"]["images"] -= 1
    with pytest.raises(InputError, match="expected 715, the files of the source"):
        describe_flow(flow)
    (tmp_path / "no.png").write_text("no picture")
    with pytest.raises(InputError, match="found no PNG"):
        embed_png(tmp_path / "no.png", "nothing")
    with pytest.raises(InputError, match="no such file"):
        embed_png(tmp_path / "absent.png", "nothing")


@pytest.mark.parametrize("compared", [True, False])
def test_the_script_writes_the_same_page_twice(options, sample, tmp_path, monkeypatch, compared):
    study, runs, picture = sample
    lists = {
        "receipts": [study[f"receipt_{split}"] for split in SPLITS],
        "metrics": [run["metrics"] for run in runs],
        "runs": [run["run"] for run in runs],
        "study-figures": [picture] * 4,
        "run-figures": [picture] * len(runs) * len(RUN_FIGURES),
        "flow": [study["flow"]],
        "rejects": [study["rejects"]],
        "comparison": [study["comparison"]] if compared else [],
    }
    words = [str(word) for name, paths in lists.items() for word in (f"--{name}", *paths)]
    pages = []
    for turn in ("first.html", "second.html"):
        argv = [
            "write_report.py",
            "--options",
            options.model_dump_json(),
            *words,
            "--report",
            str(tmp_path / turn),
        ]
        monkeypatch.setattr(sys, "argv", argv)
        write_report.main()
        pages.append((tmp_path / turn).read_bytes())
    assert pages[0] == pages[1]
    Page(pages[0].decode())


def test_the_overview_links_to_each_study(sample, tmp_path, monkeypatch):
    _, runs, _ = sample
    entries = [
        {
            **run,
            "protocol": run["split"],
            "study": study,
            "title": f"The <{study}>",
            "phantom": study == "one",
        }
        for study in ("one", "two")
        for run in RUNS
    ]
    changed_metrics = read_json(runs[1]["metrics"])
    changed_metrics["subsets"]["test"]["metrics"]["f1"] = metric(0.4321)
    write_json(tmp_path / "changed.json", changed_metrics)
    metrics = [run["metrics"] for run in runs] + [
        runs[0]["metrics"],
        tmp_path / "changed.json",
        runs[2]["metrics"],
    ]
    options = json.dumps({"runs": entries})
    argv = ["write_overview.py", "--options", options, "--metrics", *map(str, metrics)]
    monkeypatch.setattr(sys, "argv", [*argv, "--report", str(tmp_path / "report.html")])
    write_overview.main()
    text = (tmp_path / "report.html").read_text("utf-8")
    parsed = Page(text)
    assert {"one/report.html", "two/report.html"} <= set(parsed.values("href"))
    assert "The <two>" in parsed.text
    assert parsed.text.count("It is a phantom") == 1
    assert "0.432" in parsed.text
    assert not parsed.values("src")
    monkeypatch.setattr(sys, "argv", [*argv[:-1], "--report", str(tmp_path / "report.html")])
    with pytest.raises(InputError, match="found 5 files; expected 6"):
        write_overview.main()
