"""The phantom method: drawn once, redrawn on other options, never over what is not its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scanline.acquire.methods import acquire
from scanline.acquire.options import PhantomSource
from scanline.acquire.phantom import MARKER
from scanline.core.errors import InputError
from scanline.core.tables import FILES, read_table

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
SMALL = {
    "method": "phantom",
    "path": "data/demo/heads",
    "layout": "phe_sich_ids",
    "patients": 3,
    "slices_per_patient": 4,
    "image_size_px": 32,
    "seed": 1,
}


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def draw(**changes):
    return acquire(PhantomSource(**{**SMALL, **changes}))


def test_an_equal_phantom_is_reused():
    first = draw()
    folder = Path(SMALL["path"])
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert draw().equals(first)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps


def test_other_options_replace_it_and_nothing_is_left_beside():
    first = draw()
    second = draw(seed=2)
    assert not second.equals(first)
    assert draw().equals(first)
    assert [path.name for path in Path("data/demo").iterdir()] == ["heads"]


def test_the_marker_is_in_no_manifest():
    files = draw()
    assert (Path(SMALL["path"]) / MARKER).is_file()
    assert not files["path"].str.contains("scanline").any()


@pytest.mark.parametrize("kind", ["empty folder", "folder", "file", "broken link"])
def test_what_is_not_ours_is_never_touched(kind):
    folder = Path(SMALL["path"])
    folder.parent.mkdir(parents=True)
    if kind == "broken link":
        folder.symlink_to("nowhere")
    elif kind == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
    if kind == "folder":
        (folder / "mine.png").write_text("mine")
    with pytest.raises(InputError, match="no phantom"):
        draw()
    if kind == "folder":
        assert [path.name for path in folder.iterdir()] == ["mine.png"]
    assert [path.name for path in Path("data/demo").iterdir()] == ["heads"]


def test_a_drawing_that_fails_leaves_the_old_one(monkeypatch):
    first = draw()
    with monkeypatch.context() as patch:
        patch.setattr("scanline.acquire.phantoms.phe_sich_ids._write_patient_table", _full_disk)
        with pytest.raises(OSError, match="No space"):
            draw(seed=2)
    assert [path.name for path in Path("data/demo").iterdir()] == ["heads"]
    assert draw().equals(first)


def _full_disk(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("layout", ["phe_sich", "head_ct", "os"])
def test_an_unknown_layout_names_the_known(layout):
    with pytest.raises(InputError, match=r"expected one of ct_hematoma_external, .*phe_sich_ids"):
        draw(layout=layout)


def run_script(options, hash_seed="0"):
    command = [
        sys.executable,
        SCRIPTS / "acquire_source.py",
        "--name",
        "heads",
        "--files",
        "out/files.parquet",
    ]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "PYTHONHASHSEED": hash_seed}
    return subprocess.run(
        [*command, "--options", json.dumps(options)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_the_script_writes_the_manifest_of_the_same_bytes_every_time():
    done = run_script(SMALL, "1")
    assert done.returncode == 0, done.stderr
    assert "heads: " in done.stderr
    first = read_table(Path("out/files.parquet"), FILES)
    assert run_script({**SMALL, "path": "data/again"}, "2").returncode == 0
    assert read_table(Path("out/files.parquet"), FILES).equals(first)


def test_the_script_ends_in_one_line_on_bad_input():
    done = run_script({"method": "local", "path": "data/nowhere", "how_to_get": "Ask for it."})
    assert done.returncode == 1
    assert [line.split()[2] for line in done.stderr.splitlines()] == ["INFO", "ERROR"]  # INFO: the environment
    assert done.stderr.rstrip().endswith("Ask for it.")
