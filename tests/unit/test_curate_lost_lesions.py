"""A finding refused with its row or slice leaves its volume unknown: through any adapter, by box, label or mask."""

import pytest
from curate_folders import LABELS, curate, image_bytes, labels_of, mask_bytes, raw_folder, textured_pixels  # noqa: F401

from scanline.curate.entries import Box, Entry, LostLesion, Reject
from scanline.curate.inspection import Inspected
from scanline.curate.judge import Verdict
from scanline.curate.lost_lesions import lesions_of_images, lesions_of_rows, widen_unknown
from scanline.curate.options import CurateOptions

BOX = Box("T", 1, 1, 4, 4)
EMPTY, OUTLINED = (Inspected("x", (9, 9), is_positive=is_positive) for is_positive in (False, True))
HAEMORRHAGE, OEDEMA = LABELS


def options(**changes) -> CurateOptions:
    values = {"adapter": "x", "layout": {}, "classes": {"T": "tear", "C": "cyst"}, "ignored_classes": ("I",)}
    return CurateOptions.model_validate({**values, "annotated_classes": ("tear", "cyst"), **changes})


def verdict(path, volume="v", **labels) -> Verdict:
    return Verdict(Entry(path, None, volume, None, ()), (), labels, ())


@pytest.mark.parametrize(
    ("label", "names"), [("T", {"tear"}), (None, {"tear", "cyst"}), ("I", set()), ("of no class", set())]
)
def test_a_row_tells_of_its_class_or_of_all_that_were_looked_for(label, names):
    reject = Reject("t.csv", 3, "refused", "x", "", (LostLesion("v", label), LostLesion("w", label)))
    found = lesions_of_rows([reject, Reject("t.csv", 4, "refused", "x", "")], options())
    assert found == {(volume, name, False) for volume in ("v", "w") for name in names}


@pytest.mark.parametrize(
    ("entry", "mask", "names"),
    [
        (Entry("a", None, "v", 1, (BOX,)), None, {"tear"}),
        (Entry("a", None, None, 1, (BOX,)), None, set()),
        (Entry("a", None, "v", 1, ()), None, set()),
        (Entry("a", None, "v", 1, None), None, set()),
        (Entry("a", None, "v", 1, (), doubtful=True), None, {"tear", "cyst"}),
        (Entry("a", None, "v", 1, (BOX,), labels={"C": True, "T": False}), None, {"cyst"}),  # its labels decide
        (Entry("a", None, "v", 1, None, labels={"C": None}), None, set()),
        (Entry("a", None, "v", 1, ()), OUTLINED, {"cyst"}),
        (Entry("a", None, "v", 1, ()), EMPTY, set()),
        (Entry("a", None, "v", 1, ()), Inspected("x", problem="broken"), set()),
    ],
)
def test_a_refused_image_tells_what_it_would_have_shown(entry, mask, names):
    found = lesions_of_images([(entry, mask)], options(mask_class="cyst"))
    assert found == {("v", name, True) for name in names}


@pytest.mark.parametrize(
    ("on_refused_slice", "others", "expected"),
    [
        (True, [False, False], [None, None]),
        (True, [False, True], [False, True]),
        (True, [False, None], [None, None]),
        (False, [False, False], [None, None]),
        (False, [False, True], [None, True]),
    ],
)
def test_slices_without_the_class_are_unknown_where_one_of_them_may_have_it(on_refused_slice, others, expected):
    verdicts = [verdict(f"{place}", tear=tear, cyst=False) for place, tear in enumerate(others)]
    widened, notes = widen_unknown([*verdicts, verdict("w", "other", tear=False)], [("v", "tear", on_refused_slice)])
    assert [one.labels["tear"] for one in widened] == [*expected, False]
    assert [one.labels["cyst"] for one in widened[:-1]] == [False, False]
    assert len(notes) == (others != expected)


def test_of_several_lost_ones_the_least_certain_counts():
    verdicts = [verdict("a", tear=True), verdict("b", tear=False)]
    lost = {("v", "tear", True), ("v", "tear", False)}
    assert [one.labels["tear"] for one in widen_unknown(verdicts, lost)[0]] == [True, None]
    assert widen_unknown(verdicts, set()) == (verdicts, [])
    assert widen_unknown(verdicts, {("gone", "tear", False)}) == (verdicts, [])


def test_of_a_volume_whose_boxed_image_is_cut_off_no_slice_is_negative(raw):
    boxed = image_bytes(textured_pixels(200))[:-60]
    raw.add(2, 0, boxes=[(5, 4, 9, 9)], image=boxed).add(2, 1).add(2, 2).add(3, 0)
    tables = curate(raw)
    assert labels_of(tables, "0002_01") == labels_of(tables, "0002_02") == {HAEMORRHAGE: None, OEDEMA: None}
    assert labels_of(tables, "0003_00") == {HAEMORRHAGE: False, OEDEMA: False}
    assert labels_of(tables, "0001_00") == {HAEMORRHAGE: True, OEDEMA: True}
    assert (tables.rejects["reason"] == "lesion_lost").sum() == 2


def test_a_mask_alone_of_a_cut_off_image_leaves_its_class_unknown(raw):
    raw.add(2, 0, image=image_bytes(textured_pixels(200))[:-60], mask=mask_bytes(True)).add(2, 1)
    assert labels_of(curate(raw), "0002_01") == {HAEMORRHAGE: False, OEDEMA: None}
