"""A copy of the project with a tiny study, run to its end once; tests change copies of that copy."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
PRESET = "tiny"
TARGET_RULES = {"all", "default", "figures", "report", "phe_sich", "total"}
TINY = {
    "all_studies": {
        "pixels": {"image_size_px": 32},
        "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.001, "device": "cpu"},
        "evaluate": {"bootstrap_resamples": 100},
        "figures": {"resolution_dpi": 50},
    },
    "studies": {
        "phe_sich": {
            "sources": {
                "phe_sich_ids": {
                    "acquire": {
                        "method": "phantom",
                        "path": "data/tiny/phe_sich_ids",
                        "layout": "phe_sich_ids",
                        "patients": 24,
                        "slices_per_patient": 8,
                        "image_size_px": 64,
                        "seed": 7,
                    }
                }
            },
            "models": {"resnet18": {"weights": "none", "channels": 1}},
            "runs": [
                {
                    "split": "grouped",
                    "tasks": ["classify", "classify_augmented"],
                    "models": ["resnet18"],
                    "seeds": [42],
                },
                {"split": "naive_image", "tasks": ["classify"], "models": ["resnet18"], "seeds": [42]},
            ],
        }
    },
}


@dataclass(frozen=True)
class Project:
    """A copy of the project, with the preset `tiny` in it."""

    root: Path

    @property
    def results(self) -> Path:
        return self.root / "results" / PRESET

    @property
    def preset_file(self) -> Path:
        return self.root / f"config/presets/{PRESET}.yaml"

    def set_preset(self, section: str, **values: object) -> None:
        """Change values in a section of the preset."""
        preset = yaml.safe_load(self.preset_file.read_text("utf-8"))
        preset["all_studies"].setdefault(section, {}).update(values)
        self.preset_file.write_text(yaml.safe_dump(preset), "utf-8")

    def start(self, *arguments: str, path: Path | None = None) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own; `path` is searched for programs first."""
        folders = [str(folder) for folder in (path, Path(sys.executable).parent) if folder is not None]
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, "--config", f"preset={PRESET}"],
            cwd=self.root,
            env={**os.environ, "PATH": os.pathsep.join([*folders, os.environ["PATH"]])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def snakemake(self, *arguments: str, path: Path | None = None) -> str:
        """Run Snakemake to its end and give what it printed."""
        process = self.start(*arguments, path=path)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output[-8000:]
        return output

    def planned(self, *arguments: str, path: Path | None = None) -> Counter[str]:
        """The jobs that a dry run lists: their number by rule, targets left out."""
        return planned_jobs(self.snakemake("--dry-run", *arguments, path=path))


def planned_jobs(output: str) -> Counter[str]:
    """Read Snakemake's table of jobs; without a table it must have said that there is nothing to do."""
    table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)\n\n", output, re.MULTILINE | re.DOTALL)
    if table is None:
        assert "Nothing to be done" in output, output
        return Counter()
    rows = [line.split() for line in table[1].splitlines()]
    return Counter({rule: int(count) for rule, count in rows if rule not in TARGET_RULES})


def copy_project(target: Path) -> None:
    """Copy what a clone would hold, and what is not committed yet: the files get new time stamps."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, target / name)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A copy of the project in which everything has been made; not to be changed."""
    project = Project(tmp_path_factory.mktemp("finished") / "project")
    copy_project(project.root)
    project.preset_file.write_text(yaml.safe_dump(TINY), "utf-8")
    project.snakemake()
    return project


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project to change, time stamps and hard links as they were."""
    subprocess.run(["cp", "--archive", finished.root, tmp_path / "project"], check=True)
    return Project(tmp_path / "project")
