"""Manifests made anew after the user changed raw files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fault_server import serving

from scanline.acquire.methods import acquire
from scanline.acquire.options import read_acquire_options
from scanline.acquire.rescan import Changes, rescan
from scanline.core.errors import InputError
from scanline.core.tables import FILES, read_table, write_table

REPOSITORY = Path(__file__).parents[2]
MANIFEST = Path("results/files.parquet")


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCANLINE_OFFLINE", raising=False)
    return tmp_path


def options(**keys):
    return read_acquire_options(json.dumps({"path": "data/x", **keys}))


def local(*names, **keys):
    for name in names:
        path = Path("data/x", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return options(method="local", how_to_get="Get it.", **keys)


def state():
    return MANIFEST.read_bytes(), MANIFEST.stat().st_mtime_ns


def test_without_a_change_nothing_is_written(project):
    source = local("a.png", "b/c.png")
    write_table(acquire(source), MANIFEST, FILES)
    before = state()
    assert not rescan(source, MANIFEST)
    assert state() == before


def test_what_was_added_removed_and_changed_is_told(project):
    source = local("a.png", *(f"{number}.png" for number in range(5)))
    write_table(acquire(source), MANIFEST, FILES)
    for number in range(5):
        Path(f"data/x/{number}.png").unlink()
    Path("data/x/a.png").write_text("other")
    Path("data/x/new one.png").write_text("new")
    changes = rescan(source, MANIFEST)
    assert changes.lines() == [
        "1 added: new one.png",
        "5 removed: 0.png, 1.png, 2.png, ...",
        "1 changed: a.png",
    ]
    assert list(read_table(MANIFEST, FILES)["path"]) == ["a.png", "new one.png"]
    assert rescan(source, MANIFEST) == Changes([], [], [])


def test_the_manifest_is_that_of_a_fresh_acquisition(project):
    source = local("a.png")
    write_table(acquire(source), MANIFEST, FILES)
    local("b.png")
    rescan(source, MANIFEST)
    fresh = project / "fresh.parquet"
    write_table(acquire(source), fresh, FILES)
    assert MANIFEST.read_bytes() == fresh.read_bytes()


def test_no_manifest_or_no_file_is_one_line(project):
    with pytest.raises(InputError, match=r"found no manifest; .* Make it: snakemake results/files\.parquet"):
        rescan(local("a.png"), MANIFEST)
    write_table(acquire(local("a.png")), MANIFEST, FILES)
    before = state()
    Path("data/x/a.png").unlink()
    with pytest.raises(InputError, match="found no file in it"):
        rescan(local(), MANIFEST)
    assert state() == before


def test_changes_of_fetched_files_are_kept_by_later_runs(project):
    with serving() as site:
        site.files = {f"/{name}": name.encode() for name in ("a.png", "b.png", "c.png")}
        files = [{"url": site.url(name)} for name in site.files]
        source = options(method="http", files=files)
        write_table(acquire(source), MANIFEST, FILES)
        assert not rescan(source, MANIFEST)
        Path("data/x/a.png").write_text("mended")
        Path("data/x/b.png").unlink()
        changes = rescan(source, MANIFEST)
        assert (changes.removed, changes.changed) == (["b.png"], ["a.png"])
        asked = len(site.asked)
        assert acquire(source).equals(read_table(MANIFEST, FILES))
        assert len(site.asked) == asked
        assert Path("data/x/a.png").read_text() == "mended"
        other = options(method="http", files=[{"url": site.url("/c.png"), "name": "a.png"}])
        with pytest.raises(InputError, match=r"a\.png: found SHA-256"):
            acquire(other)


def test_the_command_tells_what_changed_in_each_source(project):
    for folder in ("config", "workflow"):
        (project / folder).symlink_to(REPOSITORY / folder)
    source = {"method": "phantom", "layout": "phe_sich_ids", "patients": 3, "slices_per_patient": 2}
    folder = "data/demo/phe_sich_ids"
    manifest = project / "results/demo/phe_sich/sources/phe_sich_ids/files.parquet"
    write_table(acquire(options(**{**source, "path": folder, "image_size_px": 32})), manifest, FILES)
    command = [sys.executable, "workflow/scripts/rescan_source.py", "--study", "phe_sich", "--preset", "demo"]

    def said(*more):
        return subprocess.run([*command, *more], capture_output=True, text=True, check=False)

    assert said().stdout == "phe_sich_ids: nothing has changed\n"
    (project / folder / "new.png").write_text("new")
    assert said("--source", "phe_sich_ids").stdout == "phe_sich_ids: 1 added: new.png\n"
    wrong = said("--source", "phe_sich_id")
    assert wrong.returncode == 1
    assert "Did you mean 'phe_sich_ids'?" in wrong.stderr
    assert "Traceback" not in wrong.stderr
