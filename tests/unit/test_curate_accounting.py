"""The last check of curation: a file that an adapter loses or counts twice is told by name."""

import pytest

from scanline.curate.accounting import check_nothing_lost, refuse_files_of_frames, refuse_orphans
from scanline.curate.entries import Box, Entry, Reject
from scanline.curate.judge import Verdict

FILES = {"a.png": "f0", "a.xml": "f1", "notes.txt": "f2"}


def kept(path="a.png", **parts) -> Verdict:
    return Verdict(Entry(path, None, None, None, (), annotation_path="a.xml", **parts), (), {}, ())


def aside(path, reason="not_in_layout", action="noted", row=None) -> Reject:
    return Reject(path, row, action, reason, "")


def check(*rejects, verdicts=None):
    check_nothing_lost(FILES, "mine", [kept()] if verdicts is None else verdicts, rejects)


def test_files_that_are_used_refused_or_other_pass():
    check(aside("notes.txt"))
    check(aside("notes.txt", "broken", "refused"))
    check(aside("notes.txt"), aside("a.png", "channels_reduced"), aside("a.xml", "x", "refused", row=1))
    whole = Verdict(Entry("a/whole", None, None, None, (), annotation_path="a.xml"), (), {}, ())  # without a file
    check(aside("notes.txt"), aside("a.png", "x", "refused"), verdicts=[whole])


@pytest.mark.parametrize(
    ("rejects", "told"),
    [
        ([], r"adapter mine lost or doubled 'notes\.txt' \(-1\)$"),
        ([aside("notes.txt", "channels_reduced")], r"'notes\.txt' \(-1\)"),
        ([aside("notes.txt", "x", "refused", row=0)], r"'notes\.txt' \(-1\)"),
        ([aside("notes.txt"), aside("a.png", "x", "refused")], r"'a\.png' \(\+1\)"),
        ([aside("notes.txt"), aside("no.such")], r"'no\.such' \(\+1\)"),
        ([aside("a.xml"), aside("a.xml")], r"'a\.xml' \(\+2\) and 1 more"),
    ],
)
def test_a_file_that_is_lost_or_doubled_is_told(rejects, told):
    with pytest.raises(RuntimeError, match=told):
        check(*rejects)


def test_a_file_of_which_no_image_can_be_used_is_refused_as_a_file():
    frames = [Entry("v.nii", None, "v", k, None, frame=k) for k in range(3)]
    (one,) = refuse_files_of_frames(frames, [Reject("v.nii", 1, "refused", "size_differs", "")])
    assert (one.path, one.row, one.reason) == ("v.nii", None, "file_unusable")
    assert refuse_files_of_frames(frames, [Reject("v.nii", None, "refused", "x", "")]) == []
    assert refuse_files_of_frames([Entry("a.png", None, None, None, None)], []) == []


def test_boxes_of_a_refused_frame_are_refused_with_it():
    box = Box("T", 1, 1, 2, 2, row=7, path="boxes.csv")
    gone = [Entry("v.h5", None, "v", 1, (box,), annotation_path="a.xml", mask_path="m.nii", frame=1)]
    found = {(one.path, one.row, one.reason) for one in refuse_orphans(gone, [kept()], [])}
    assert found == {("boxes.csv", 7, "image_refused"), ("m.nii", None, "image_refused")}
