"""Pages of example pictures: a key, then sections with a heading and rows of slices with words below them."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from scanline.core.tables import read_table
from scanline.figures.options import RunFigureOptions
from scanline.figures.style import FAINT, INK, QUIET, WIDTH_IN, bare, bottom_of, drawn_figure, top_of

MARGIN = 0.12  # inches, as all that follows
HEAD = 0.36
CAPTION = 0.37
KEY = 0.34
KEY_LINE = 0.19  # of a further line of the key
EMPTY = 0.3
FOOT = 0.05
OVERLAY_OPACITY = 0.7  # of a map where it is 1


@dataclass(frozen=True)
class CachedImages:
    """Images of a cache by image_id.

    Attributes:
        pixels: The cache, shape (images, size, size), uint8; mapped into memory, not loaded.
        rows: image_id to its row.
    """

    pixels: NDArray[np.uint8]
    rows: Mapping[str, int]

    def __getitem__(self, image_id: str) -> NDArray[np.uint8]:
        """The image, shape (size, size)."""
        image: NDArray[np.uint8] = self.pixels[self.rows[image_id]]
        return image


def read_cached_images(cache: Path, index: Path) -> CachedImages:
    """Read a pixel or mask cache.

    Args:
        cache: The array, .npy.
        index: Its table of rows.
    """
    places = read_table(index)
    return CachedImages(
        np.load(cache, mmap_mode="r"), dict(zip(places["image_id"], places["row"].tolist(), strict=True))
    )


def one_a_patient(rows: pd.DataFrame, count: int, shown: Collection[str] = ()) -> pd.DataFrame:
    """The first rows, one a patient as long as there are other patients; in the order they come in.

    Args:
        rows: Column `patient`, null where unknown: such a row counts as a patient of its own.
        count: Rows at most.
        shown: Patients that are shown already, and so come after the others.
    """
    patients = rows["patient"]
    again = (patients.notna() & (patients.duplicated() | patients.isin(list(shown)))).to_numpy(dtype=bool)
    places = np.concatenate([np.flatnonzero(~again), np.flatnonzero(again)])[:count]
    return rows.iloc[np.sort(places)]


def best_typical_worst(rows: pd.DataFrame, quality: str, count: int) -> dict[str, pd.DataFrame]:
    """The best, the worst and the typical cases, none in two of them.

    Typical are those nearest to the median of all. Where there are few, best and worst take a third each, so that
    something is left between them. Ties go by image_id.

    Args:
        rows: Columns image_id, patient and the quality, of which more is better.
        quality: Name of its column.
        count: Cases of each kind at most.

    Returns:
        Rows under best, typical and worst, each in the order in which it is to be shown.
    """
    rising = rows.sort_values([quality, "image_id"], kind="stable")
    falling = rows.sort_values([quality, "image_id"], ascending=[False, True], kind="stable")
    distance = (rows[quality] - rows[quality].median()).abs()
    near = rows.assign(_distance=distance).sort_values(["_distance", "image_id"], kind="stable")
    ends = min(count, max(1, rows["image_id"].nunique() // 3))
    taken: set[str] = set()
    chosen = {}
    for name, ordered, most in (("best", falling, ends), ("worst", rising, ends), ("typical", near, count)):
        free = ordered[~ordered["image_id"].isin(taken)].drop_duplicates("image_id")
        chosen[name] = one_a_patient(free, most)[rows.columns]
        taken |= set(chosen[name]["image_id"])
    return {name: chosen[name] for name in ("best", "typical", "worst")}


def scale_boxes(boxes: pd.DataFrame, width: int, height: int, size: int) -> pd.DataFrame:
    """Boxes of one image in the coordinates of its cached square.

    Args:
        boxes: Columns `x`, `y`, `width`, `height` in pixels of the original, origin at its top left corner.
        width: Width of the original in pixels.
        height: Height of the original in pixels.
        size: Width and height of the cached image in pixels.
    """
    across, down = size / width, size / height
    return boxes.assign(
        x=boxes["x"] * across,
        y=boxes["y"] * down,
        width=boxes["width"] * across,
        height=boxes["height"] * down,
    )


def show_image(axes: Axes, pixels: NDArray[np.uint8]) -> None:
    """Draw a grey image (size, size), uint8, in continuous pixels from its top left corner."""
    size = float(pixels.shape[0])
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(0.0, size, size, 0.0), interpolation="bilinear")
    axes.set(xlim=(0, size), ylim=(size, 0))


def show_evidence(axes: Axes, cam: NDArray[np.floating[Any]] | None, size: int) -> None:
    """Draw a Grad-CAM over an image: what the network ignored stays grey, what it looked at glows.

    Args:
        axes: Those of `show_image`.
        cam: Shape (height, width), values 0 to 1; None is said in words.
        size: Width and height of the image in pixels.
    """
    if cam is None:
        axes.text(0.5, 0.05, "no map", transform=axes.transAxes, ha="center", size=8, color=FAINT)
        return
    heat = np.asarray(cam, dtype=np.float64)
    opacity = OVERLAY_OPACITY * np.clip(heat, 0, 1)
    extent = (0.0, float(size), float(size), 0.0)
    axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=opacity, extent=extent, interpolation="bilinear")
    axes.set(xlim=(0, size), ylim=(size, 0))


def draw_box(axes: Axes, box: Any, colour: str, **looks: Any) -> None:
    """Draw a box that has x, y, width and height in pixels of the image shown."""
    axes.add_patch(Rectangle((box.x, box.y), box.width, box.height, fill=False, edgecolor=colour, **looks))


def name_patient(patient: Any, slice_index: Any = None) -> str:
    """`patient 0a1b2c, slice 7`, with the word unknown for what is null; without a slice where none is given."""
    words = f"patient {'unknown' if pd.isna(patient) else patient}"
    if slice_index is None:
        return words
    return f"{words}, slice {'unknown' if pd.isna(slice_index) else int(slice_index)}"


@dataclass
class Page:
    """A figure that is filled from the top; `y` is the height in inches of what is still free."""

    figure: Figure
    height: float
    y: float

    def text(self, x: float, below: float, words: str, **looks: Any) -> None:
        """Write words `below` inches under the top of what is free, `x` inches from the left."""
        self.figure.text(x / WIDTH_IN, (self.y - below) / self.height, words, va="top", **looks)

    def picture(self, x: float, side: float, below: float = 0.0) -> Axes:
        """Add square axes, `x` inches from the left and `below` inches under the top of what is free."""
        box = (x / WIDTH_IN, (self.y - below - side) / self.height, side / WIDTH_IN, side / self.height)
        axes = self.figure.add_axes(box)
        bare(axes)
        return axes

    def line(self, colour: str, thick: float = 0.025) -> None:
        """Draw a line across the page, at the top of what is free."""
        place = (MARGIN / WIDTH_IN, (self.y - 0.02) / self.height)
        width = 1 - 2 * MARGIN / WIDTH_IN
        transform = self.figure.transFigure
        self.figure.add_artist(Rectangle(place, width, thick / self.height, color=colour, transform=transform))

    def head(self, name: str, facts: str, colour: str) -> None:
        """Begin a section."""
        self.line(colour)
        self.text(MARGIN, 0.08, name, size=10.5, color=colour, weight="bold")
        self.text(WIDTH_IN - MARGIN, 0.09, facts, size=9, color=INK, ha="right")
        self.y -= HEAD


@contextmanager
def drawn_page(path: Path, content_in: float, options: RunFigureOptions) -> Iterator[Page]:
    """Give an empty page with room for `content_in` inches below title and above phantom mark; write it at the end."""
    height = content_in + top_of(options.title) + bottom_of(options.phantom)
    with drawn_figure(
        path,
        height_in=height,
        dpi=options.resolution_dpi,
        phantom=options.phantom,
        title=options.title,
        constrained=False,
    ) as figure:
        yield Page(figure, height, height - top_of(options.title))


@dataclass(frozen=True)
class Key:
    """What stands above all pictures: words at the left, what colours mean at the right, further words below.

    Attributes:
        words: The first line.
        handles: Of the legend; more than two stand below the words.
        more: A second line, or empty.
    """

    words: str
    handles: Sequence[Artist] = ()
    more: str = ""

    @property
    def height(self) -> float:
        """Inches that the key takes."""
        own_lines = -(-len(self.handles) // 2) if len(self.handles) > 2 else 0
        return KEY + KEY_LINE * (bool(self.more) + own_lines)

    def draw(self, page: Page, **looks: Any) -> None:
        """Write the key at the top of what is free."""
        page.text(MARGIN, 0.07, self.words, size=9, color=QUIET)
        if self.more:
            page.text(MARGIN, 0.07 + KEY_LINE, self.more, size=9, color=QUIET)
        beside = len(self.handles) <= 2
        top = page.y + 0.03 - (0 if beside else KEY_LINE * (1 + bool(self.more)))
        if self.handles:
            page.figure.legend(
                handles=list(self.handles),
                loc="upper right" if beside else "upper left",
                bbox_to_anchor=(1.0 if beside else 0.0, top / page.height),
                ncols=min(2, len(self.handles)),
                fontsize=8.5,
                **looks,
            )
        page.y -= self.height


@dataclass(frozen=True)
class Section:
    """Cases of one sort.

    Attributes:
        name: Heading.
        facts: What they are and how many there are, at the right of the heading.
        colour: Of the heading.
        cases: What is drawn, one each.
        empty: Words that stand where there are no cases.
    """

    name: str
    facts: str
    colour: str
    cases: Sequence[Any] = field(default_factory=list)
    empty: str = "none"


@dataclass(frozen=True)
class Grid:
    """How the cases of a section stand.

    Attributes:
        across: Cases in a row.
        pictures: Pictures of a case, side by side.
        gap: Inches between cases.
    """

    across: int
    pictures: int
    gap: float

    @property
    def side(self) -> float:
        """Inches of a picture's side."""
        return (WIDTH_IN - 2 * MARGIN - (self.across - 1) * self.gap) / (self.across * self.pictures)


def draw_sections(
    sections: Sequence[Section],
    grid: Grid,
    key: Key,
    draw_case: Callable[[Sequence[Axes], Any], tuple[str, str]],
    options: RunFigureOptions,
    path: Path,
    **key_looks: Any,
) -> None:
    """Draw a page of sections.

    Args:
        sections: From top to bottom; one without cases keeps its heading, and says so.
        grid: How cases stand.
        key: Above all of them.
        draw_case: Draws a case into its axes and gives the two lines below it: what it shows, and of whom.
        options: Looks, title and phantom mark.
        path: PNG file to write.
        key_looks: Of the legend.
    """
    rows = sum(-(-len(section.cases) // grid.across) for section in sections)
    empty = sum(not section.cases for section in sections)
    content = key.height + FOOT + len(sections) * HEAD + rows * (grid.side + CAPTION) + empty * EMPTY
    with drawn_page(path, content, options) as page:
        key.draw(page, **key_looks)
        for section in sections:
            page.head(section.name, section.facts, section.colour)
            if not section.cases:
                page.text(MARGIN, 0.0, section.empty, size=10, color=QUIET)
                page.y -= EMPTY
            for start in range(0, len(section.cases), grid.across):
                for column, case in enumerate(section.cases[start : start + grid.across]):
                    x = MARGIN + column * (grid.pictures * grid.side + grid.gap)
                    axes = [page.picture(x + place * grid.side, grid.side) for place in range(grid.pictures)]
                    words, owner = draw_case(axes, case)
                    page.text(x, grid.side + 0.04, words, size=8, color=INK)
                    page.text(x, grid.side + 0.17, owner, size=8 if grid.across < 4 else 7.5, color=QUIET)
                page.y -= grid.side + CAPTION
