"""A stand-in for conda, of as much of it as Snakemake calls; the packages are found and installed by py-rattler.

It is not conda, and its channel is not conda-forge: the channel lies in a folder and holds two packages of our own,
`python` and `pip`, whose programs run the Python of the tests. So pip finds what an environment file pins installed
already, and refuses where it is not, without a network. Every call of an environment's Python is noted in it; those
that would change what is installed do nothing, as that is the Python of the tests.
"""

import asyncio
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from itertools import pairwise
from pathlib import Path

import rattler
import yaml
from rattler.index import index_fs

PYTHON = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/../calls.txt"
case "$*" in "-m pip uninstall "* | "-m pip install --force-reinstall "*) exit 0 ;; esac
exec "{python}" "$@"
"""
PIP = """#!/bin/sh
exec "$(dirname "$0")/python" -m pip "$@"
"""
ACTIVATE = """export CONDA_PREFIX="$1"
export PATH="$1/bin:$PATH"
"""


def add_package(channel: Path, name: str, version: str, program: str, depends: list[str]) -> None:
    """Put a package with one program into the channel."""
    index = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": depends, "subdir": "noarch"}
    path = {"_path": f"bin/{name}", "path_type": "hardlink", "size_in_bytes": len(program)}
    members = {
        "info/index.json": json.dumps({**index, "noarch": "generic", "timestamp": 1_700_000_000_000}),
        "info/paths.json": json.dumps({"paths": [path], "paths_version": 1}),
        f"bin/{name}": program,
    }
    (channel / "noarch").mkdir(parents=True, exist_ok=True)
    with tarfile.open(channel / f"noarch/{name}-{version}-0.tar.bz2", "w:bz2") as archive:
        for member, text in members.items():
            entry = tarfile.TarInfo(member)
            entry.size, entry.mode = len(text), 0o755 if member.startswith("bin/") else 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))


def make_conda(folder: Path) -> Path:
    """Make the channel and the program `conda` with its `activate`; the folder to put first on the PATH."""
    channel, programs = folder / "channel", folder / "bin"
    add_package(channel, "python", "3.11.9", PYTHON.format(python=sys.executable), [])
    add_package(channel, "pip", "25.0", PIP, ["python"])
    asyncio.run(index_fs(channel))
    programs.mkdir()
    (programs / "activate").write_text(ACTIVATE, "utf-8")
    conda = programs / "conda"
    conda.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__)}" "{folder}" "$@"\n', "utf-8")
    conda.chmod(conda.stat().st_mode | stat.S_IXUSR)
    return programs


async def create(folder: Path, file: Path, prefix: Path) -> None:
    """`conda env create`: solve and install from the channel, then let pip install the rest, both offline."""
    described = yaml.safe_load(file.read_text("utf-8"))
    assert described["channels"] == ["conda-forge", "nodefaults"]
    *packages, by_pip = described["dependencies"]
    gateway = rattler.Gateway(cache_dir=folder / "cache")
    records = await rattler.solve([rattler.Channel(str(folder / "channel"))], packages, gateway, ["noarch"])
    await rattler.install(records, target_prefix=prefix, cache_dir=folder / "packages", show_progress=False)
    pip = [prefix / "bin/python", "-m", "pip", "install", "--no-index", "--no-deps", *by_pip["pip"]]
    subprocess.run(pip, check=True, env={**os.environ, "PIP_CONFIG_FILE": os.devnull})


def main() -> None:
    """Answer a call."""
    folder, *words = sys.argv[1:]
    if words == ["info", "--json"]:
        print(json.dumps({"conda_prefix": folder, "root_prefix": folder, "platform": "linux-64"}))
    elif words == ["--version"]:
        print("conda 25.1.0")
    elif words[:2] == ["config", "--get"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif words[:2] == ["env", "create"]:
        values = dict(pairwise(words))
        asyncio.run(create(Path(folder), Path(values["--file"]), Path(values["--prefix"])))
    elif words[0] != "clean":
        sys.exit(f"not known to the stand-in: conda {' '.join(words)}")


if __name__ == "__main__":
    main()
