"""PyTorch's compiler, which others import, leaves no folder among the temporary files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scanline.core.torch_compiler import CACHE, import_compiler

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"
IMPORTERS = {
    "torchvision": "import scanline.core.torchvision_compat, torchvision",
    "determinism": "from scanline.train.device import be_deterministic; be_deterministic(1)",
}


def run_python(code: str, folder: Path, **environment: str) -> str:
    """What a fresh Python prints, its temporary files and its home in `folder`."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SCRIPTS), "TMPDIR": str(folder), "HOME": str(folder)}
    command = [sys.executable, "-B", "-c", f"{code}; import os, sys; print(os.environ.get('{CACHE}'), *sys.modules)"]
    return subprocess.run(command, env=own | environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("importer", IMPORTERS)
def test_no_folder_is_left(tmp_path, importer):
    cache, *modules = run_python(IMPORTERS[importer], tmp_path).split()
    assert cache == "None"
    assert "torch._dynamo.package" in modules  # the module that makes the folder: were it not loaded, nothing is shown
    assert list(tmp_path.rglob("*")) == []


def test_a_folder_that_the_user_names_is_left_to_them(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "mine"))
    import_compiler()
    assert os.environ[CACHE] == str(tmp_path / "mine")
