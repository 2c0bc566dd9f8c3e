"""A copy of the project with a tiny study, run to its end once; tests change copies of that copy.

The study has a run of each kind of task and of each family of detectors. It runs without a network where the machine
lets processes be cut off from it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from project_copy import copy_project

from scanline.config import overlay

PRESET = "tiny"
TARGETS = {"all", "default", "figures", "report", "exports", "exports_phe_sich", "phe_sich"}
TINY = {
    "all_studies": {
        "pixels": {"image_size_px": 64},
        "training": {
            "epochs": 2,
            "batch_size": 16,
            "learning_rate": 0.001,
            "precision": "float32",
            "device": "cpu",
        },
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
            "splits": {"grouped_seed123": None, "grouped_seed456": None},
            "offline_augmentation": {"tripled": {"factor": 3, "shards": 2}},
            "tasks": {
                "segment": {"image_size_px": 96},
                "detect_augmented": {
                    "kind": "detect",
                    "targets": ["haemorrhage"],
                    "offline_augmentation": "tripled",
                },
            },
            "questions": {"haemorrhage_on_slice": {"answers": {"detect_augmented": "haemorrhage"}}},
            "detection_sets": [{"split": "grouped", "tasks": ["detect", "detect_augmented"]}],
            "detector_comparisons": {
                "families": {
                    "title": "Two families of detectors",
                    "entries": [
                        {"name": model, "split": "grouped", "task": "detect", "model": model}
                        for model in ("ssdlite", "yolo")
                    ],
                }
            },
            "label_analysis": True,
            "models": {
                "shufflenet": {"architecture": "shufflenet_v2_x0_5", "weights": "none", "channels": 1},
                "ssdlite": {"architecture": "ssdlite320_mobilenet_v3_large", "weights": "none", "channels": 1},
                "yolo": {
                    "architecture": "yolov8n",
                    "weights": "none",
                    "channels": 1,
                    "ultralytics": {"mosaic": 0.5, "close_mosaic": 1},
                },
                "linknet": {"architecture": "linknet", "encoder": "mobilenet_v2", "weights": "none", "channels": 1},
            },
            "ensembles": {
                "ensemble_detectors": {
                    "members": [{"model": "ssdlite", "seeds": [42]}, {"model": "yolo", "seeds": [42]}]
                }
            },
            "runs": [
                {
                    "split": "grouped",
                    "tasks": ["classify", "multilabel"],
                    "models": ["shufflenet"],
                    "seeds": [42],
                },
                {"split": "naive_image", "tasks": ["classify"], "models": ["shufflenet"], "seeds": [42]},
                {"split": "grouped", "tasks": ["detect"], "models": ["ssdlite", "yolo"], "seeds": [42]},
                {"split": "grouped", "tasks": ["detect"], "models": ["ensemble_detectors"], "seeds": [42]},
                {"split": "grouped", "tasks": ["detect_augmented"], "models": ["ssdlite"], "seeds": [42]},
                {"split": "grouped", "tasks": ["segment"], "models": ["linknet"], "seeds": [42]},
            ],
        }
    },
}


@dataclass(frozen=True)
class Project:
    """A copy of the project, with the preset `tiny` in it.

    Attributes:
        root: Its folder.
        environment: Variables that its runs see, beside those of the tests.
    """

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> Path:
        return self.root / "results" / PRESET

    @property
    def preset_file(self) -> Path:
        return self.root / f"config/presets/{PRESET}.yaml"

    def change_preset(self, **values: object) -> None:
        """Lay values over the preset: maps are merged, anything else is replaced."""
        preset = yaml.safe_load(self.preset_file.read_text("utf-8"))
        self.preset_file.write_text(yaml.safe_dump(overlay(preset, values)), "utf-8")

    def set_preset(self, section: str, **values: object) -> None:
        """Change values in a section that all studies share."""
        self.change_preset(all_studies={section: values})

    def start(self, *arguments: str, before: Sequence[str] = (), path: Path | None = None) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own, one thread a job.

        Args:
            arguments: For Snakemake.
            before: A command that runs it.
            path: Is searched for programs first.
        """
        folders = [str(folder) for folder in (path, Path(sys.executable).parent) if folder is not None]
        command = [*before, sys.executable, "-m", "snakemake", "--cores", "2", "--max-threads", "1", *arguments]
        return subprocess.Popen(
            [*command, "--config", f"preset={PRESET}"],
            cwd=self.root,
            env={**os.environ, "PATH": os.pathsep.join([*folders, os.environ["PATH"]]), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def snakemake(self, *arguments: str, before: Sequence[str] = (), path: Path | None = None) -> str:
        """Run Snakemake to its end and give what it printed."""
        process = self.start(*arguments, before=before, path=path)
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output[-8000:]
        return output

    def planned(self, *arguments: str, path: Path | None = None) -> set[str]:
        """The jobs that a dry run lists, targets left out; see `planned_jobs`."""
        return planned_jobs(self.snakemake("--dry-run", *arguments, path=path))


def planned_jobs(output: str) -> set[str]:
    """The jobs of a dry run by their logs' paths, such as `train_classifier/<study>/<split>/<task>/<model>/seed42`.

    The number of jobs must be that of Snakemake's table; without a table it must have said that there is nothing
    to do.
    """
    jobs = set(re.findall(rf"^    log: results/{PRESET}/logs/(\S+)\.log$", output, re.MULTILINE))
    table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)\n\n", output, re.MULTILINE | re.DOTALL)
    if table is None:
        assert "Nothing to be done" in output, output
        assert not jobs
        return jobs
    counts = {rule: int(count) for rule, count in (line.split() for line in table[1].splitlines())}
    assert counts["total"] == len(jobs) + sum(counts.get(target, 0) for target in TARGETS), output
    return jobs


def without_network() -> list[str]:
    """A command that runs another one without any network; empty where the machine does not let it."""
    command = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        return []
    return command


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A copy of the project in which everything has been made; not to be changed.

    Beside it lie the folders that it had for temporary files and as a home.
    """
    folder = tmp_path_factory.mktemp("finished")
    for name in ("temporary", "home"):
        (folder / name).mkdir()
    project = Project(folder / "project", {"TMPDIR": str(folder / "temporary"), "HOME": str(folder / "home")})
    copy_project(project.root)
    project.preset_file.write_text(yaml.safe_dump(TINY), "utf-8")
    project.snakemake(before=without_network())
    return project


@pytest.fixture
def project(finished, tmp_path):
    """A copy of the finished project to change, time stamps and hard links as they were."""
    subprocess.run(["cp", "--archive", finished.root, tmp_path / "project"], check=True)
    return Project(tmp_path / "project")


@pytest.fixture
def clone(tmp_path):
    """A copy of the project in which nothing has been made."""
    project = Project(tmp_path / "clone")
    copy_project(project.root)
    return project
