"""Phantom of the source internal of the study ct_hematoma: a folder a class, files as a search of the web finds them.

    <class>/<number>.<suffix>
    fracture/000.<suffix>      a class that the study has no use for

Its defects: a JPEG on its side, as its EXIF says, and an animated GIF; a PNG that ends in the middle, a web page and an
empty file with a picture's name, and a Thumbs.db; one file twice in its class, and one in two classes; a text in no
class folder. One picture stands there smaller and compressed again. Two stand in the phantom ct_hematoma_external of
the same seed too: one with equal bytes, one likewise changed.
"""

import shutil
from pathlib import Path

from scanline.acquire.options import PhantomSource
from scanline.acquire.phantoms.ct_hematoma_external import external_file, external_pictures
from scanline.acquire.phantoms.web_pictures import (
    CLASSES,
    INTERNAL,
    Pixels,
    draw_case,
    encode,
    write_animated,
    write_smaller,
    write_turned,
)

VERSION = 1  # raised when what is drawn changes: a phantom of another version is drawn anew
COHORT = "internal"
IGNORED = "fracture"
SEEN_OUTSIDE = (4, 2)  # cases of the external source: equal bytes, and a smaller copy
PAGE = "<!doctype html><title>404</title>\n"


def write(folder: Path, options: PhantomSource) -> None:
    """Draw all cases into an existing, empty folder; equal options give equal bytes."""
    for label in (*CLASSES, IGNORED):
        (folder / label).mkdir()
    for number in range(options.patients):
        label, pictures = draw_case(options, COHORT, number, INTERNAL)
        for index, picture in enumerate(pictures):
            (folder / label / f"{number:03d}_{index}.{picture.suffix}").write_bytes(encode(picture))
    _, pictures = draw_case(options, COHORT, options.patients, INTERNAL)
    (folder / IGNORED / f"000.{pictures[0].suffix}").write_bytes(encode(pictures[0]))
    _mend_me(folder, options)
    _spoil(folder)
    _copy_from_outside(folder, options)


def _mend_me(folder: Path, options: PhantomSource) -> None:
    """Pictures that are right once they are read by the rules: see the module's docstring."""
    turned_label, turned = _next_case(options, 1)
    write_turned(folder / turned_label / "turned.jpg", turned)
    moving_label, moving = _next_case(options, 2)
    write_animated(folder / moving_label / "moving.gif", moving)
    write_smaller(folder / turned_label / "smaller.jpg", turned)


def _next_case(options: PhantomSource, after: int) -> tuple[str, Pixels]:
    label, pictures = draw_case(options, COHORT, options.patients + after, INTERNAL)
    return label, pictures[0].pixels


def _spoil(folder: Path) -> None:
    """Files that nobody can use."""
    normal = sorted((folder / "normal").iterdir())
    whole = next(path for path in normal if path.suffix in {".jpg", ".png"}).read_bytes()
    (folder / "normal" / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "normal" / "page.jpg").write_text(PAGE, "utf-8")
    (folder / "normal" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0 no picture")
    (folder / "others" / "empty.jpg").write_bytes(b"")
    (folder / "sources.txt").write_text("A phantom: no page stands behind it.\n", "utf-8")
    for label, other, name in (("epidural", "epidural", "copy"), ("subdural", "epidural", "which")):
        first = min((folder / label).glob("00*"))
        shutil.copyfile(first, folder / other / f"{name}{first.suffix}")


def _copy_from_outside(folder: Path, options: PhantomSource) -> None:
    equal, smaller = SEEN_OUTSIDE
    label, name, content = external_file(options, equal, 0)
    (folder / label / f"seen_{name}").write_bytes(content)
    label, pictures = external_pictures(options, smaller)
    write_smaller(folder / label / "seen_smaller.jpg", pictures[0].pixels)
