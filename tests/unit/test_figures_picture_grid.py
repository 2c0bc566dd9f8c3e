import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image

from scanline.core.errors import InputError
from scanline.figures.options import RunFigureOptions
from scanline.figures.picture_grid import (
    Grid,
    Key,
    Section,
    best_typical_worst,
    draw_sections,
    name_patient,
    one_a_patient,
    show_evidence,
    show_image,
)
from scanline.figures.style import BLUE, SHOWN_SUBSETS, drawn_figure, shown_subsets
from scanline.figures.training import Curves, draw_epochs, draw_loss, plot_training

OPTIONS = RunFigureOptions(title="a run", phantom=False, resolution_dpi=50)


def cases(qualities, patients=None):
    names = [f"i{number:02d}" for number in range(len(qualities))]
    return pd.DataFrame({"image_id": names, "patient": patients or names, "quality": qualities})


def chosen(rows, count):
    return {name: table["image_id"].tolist() for name, table in best_typical_worst(rows, "quality", count).items()}


def test_typical_is_nearest_to_the_median_of_all_found_not_of_those_left():
    rows = cases([0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 0.91, 0.92, 0.93])  # median 0.5
    assert chosen(rows.sample(frac=1, random_state=3), 3) == {
        "best": ["i08", "i07", "i06"],
        "typical": ["i04", "i03", "i05"],
        "worst": ["i00", "i01", "i02"],
    }


@pytest.mark.parametrize("count", [1, 4, 12])
@pytest.mark.parametrize("found", range(9))
def test_no_case_is_shown_twice_and_the_median_is_shown_where_there_are_three(found, count):
    groups = chosen(cases([number / 10 for number in range(found)]), count)
    shown = [name for names in groups.values() for name in names]
    assert len(shown) == len(set(shown))
    assert max(map(len, groups.values())) <= count
    assert [bool(groups[name]) for name in ("best", "worst", "typical")] == [found > 0, found > 1, found > 2]
    if found % 2 and found > 2:
        assert groups["typical"][0] == f"i{found // 2:02d}"


def test_a_slice_with_two_found_boxes_is_one_case():
    rows = cases([0.9, 0.8, 0.1, 0.5, 0.6, 0.7])
    rows["image_id"] = ["a", "a", "a", "b", "c", "d"]
    groups = chosen(rows, 4)
    assert groups["best"] == ["a"]
    assert groups["worst"] == ["b"]
    assert sorted(groups["typical"]) == ["c", "d"]


def test_other_patients_come_first_and_order_stays():
    rows = cases([5, 4, 3, 2, 1], ["p", "p", None, "q", None])
    assert one_a_patient(rows, 3)["image_id"].tolist() == ["i00", "i02", "i03"]
    assert one_a_patient(rows, 3, {"p"})["image_id"].tolist() == ["i02", "i03", "i04"]
    assert one_a_patient(rows, 4, {"p", "q"})["image_id"].tolist() == ["i00", "i01", "i02", "i04"]
    assert one_a_patient(rows, 9)["image_id"].tolist() == rows["image_id"].tolist()
    assert one_a_patient(rows.iloc[:0], 3).empty


def test_patients_are_named():
    assert name_patient("0a1b", 7) == "patient 0a1b, slice 7"
    assert name_patient(None, pd.NA) == "patient unknown, slice unknown"
    assert name_patient(float("nan")) == "patient unknown"


@pytest.mark.parametrize("handles", [0, 2, 5])
def test_a_page_keeps_empty_sections_and_leaves_no_words_out(tmp_path, handles):
    drawn = []

    def draw(panels, case):
        assert len(panels) == 2
        show_image(panels[0], np.full((8, 8), 255, np.uint8))
        show_evidence(panels[1], None if case else np.ones((2, 2)), 8)
        drawn.append(case)
        return "words", "owner"

    sections = [Section("Full", "five", BLUE, list(range(5))), Section("Empty", "none", BLUE)]
    key = Key("key", [Patch(label=f"a rather long name of a label {number}") for number in range(handles)], "more")
    draw_sections(sections, Grid(across=2, pictures=2, gap=0.2), key, draw, OPTIONS, tmp_path / "page.png")
    assert drawn == [0, 1, 2, 3, 4]
    with Image.open(tmp_path / "page.png") as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape[1] == 280
    for edge in (pixels[:, :2], pixels[:, -2:], pixels[:2], pixels[-2:]):
        assert (edge == 255).all()  # nothing is cut


def history(epochs=30):
    table = pd.DataFrame({"epoch": range(1, epochs + 1)})
    table["train_loss"], table["val_loss"] = 1 / table["epoch"], 1.0
    return table.assign(dice=0.99)


QUALITY = Curves("Dice", "Dice", (("dice", "val", BLUE),), ("dice", "Dice"))


@pytest.mark.parametrize("epochs", [1, 30])
def test_the_legend_of_a_training_covers_no_curve_and_the_kept_epoch_is_marked(tmp_path, epochs):
    with drawn_figure(tmp_path / "a.png", height_in=5.8, dpi=50, phantom=False, title="a run") as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        draw_epochs(above, history(epochs), QUALITY, epochs)
        draw_loss(below, history(epochs), epochs, "Loss")
        figure.draw_without_rendering()
        for axes, title in ((above, "Dice"), (below, "Loss")):
            written = next(text for text in axes.findobj(Text) if (text.get_text(), text.get_size()) == (title, 10.5))
            frame, legend = axes.get_window_extent(), axes.get_legend().get_window_extent()
            assert legend.y0 >= frame.y1
            assert legend.x1 <= figure.bbox.x1
            assert legend.y1 <= written.get_window_extent().y0 + 1
            assert f"kept: epoch {epochs}," in axes.get_legend().get_texts()[-1].get_text()
        ring = below.lines[-1]
        assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (epochs, 1.0)
        assert below.get_ylim()[1] > 1.0  # the highest point is not on the edge


def test_values_that_are_no_numbers_are_said_to_be_undefined():
    axes = Figure().add_subplot()
    draw_epochs(axes, history().assign(dice=np.nan), QUALITY, 3)
    assert [text.get_text() for text in axes.texts] == ["not a number in any epoch"]
    assert axes.get_legend().get_texts()[-1].get_text() == "kept: epoch 3, Dice undefined"
    draw_loss(axes, history().assign(train_loss=np.nan, val_loss=np.inf), 3, "Loss")
    assert axes.get_ylim() == (0, 1)


def test_a_history_without_the_quality_is_one_line(tmp_path):
    with pytest.raises(InputError, match="expected the column dice as well"):
        plot_training(history().drop(columns="dice"), {"best_epoch": 1}, QUALITY, OPTIONS, tmp_path / "a.png")


def test_subsets_come_in_their_order():
    assert shown_subsets({"subsets": dict.fromkeys(("external", "test", "val"))}) == list(SHOWN_SUBSETS)
    assert shown_subsets({"subsets": {"test": None, "train": None}}) == ["test"]
