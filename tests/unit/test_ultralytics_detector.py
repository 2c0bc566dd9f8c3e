import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from ultralytics_job import SIZE, make_job, make_samples, train

from scanline.core.errors import InputError
from scanline.prepare.yolo_export import YoloSubset, write_yolo
from scanline.train import ultralytics_detector
from scanline.train.detection import MIN_SCORE, DetectorSpec
from scanline.train.detection_ap import average_precision
from scanline.train.options import BoxAugmentation
from scanline.train.ultralytics_detector import (
    augmentation_settings,
    fit_ultralytics,
    import_ultralytics,
    load_ultralytics,
)

HERE = Path(__file__).parent
SCRIPTS = HERE.parents[1] / "workflow" / "scripts"
COLUMNS = ["epoch", "train_loss", "val_loss", "ap50", "ap50_95", "learning_rate", "seconds", "is_best"]
CPU = torch.device("cpu")
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

# Notes what Python writes and where it connects to; it is loaded by the interpreter before the program.
AUDIT = """
import os, sys

def note(event, arguments):
    flags = arguments[2] if event == "open" and isinstance(arguments[2], int) else 0
    is_known = isinstance(arguments[0], int) or arguments[0] in (os.environ["NOTES"], os.devnull) if flags else True
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not is_known:
        tell("write", os.fsdecode(arguments[0]))
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate", "shutil.copyfile"):
        tell("write", os.fsdecode(arguments[event not in ("os.mkdir", "os.truncate")]))
    elif event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen"):
        tell(event, repr(arguments))

def tell(kind, what):
    handle = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{kind}\\t{os.path.abspath(what) if kind == 'write' else what}\\n".encode())
    os.close(handle)

sys.addaudithook(note)
"""

# Has all that ultralytics asks of albumentations, and stops whoever uses it on an image.
ALBUMENTATIONS = """
__version__ = "2.0.8"

class Transform:
    def __init__(self, **options): self.p = options["p"]

Blur = MedianBlur = ToGray = CLAHE = RandomBrightnessContrast = RandomGamma = ImageCompression = Transform

class DualTransform(Transform): pass

class BaseCompose: pass

class Compose(BaseCompose):
    def __init__(self, transforms): self.transforms = transforms
    def __call__(self, **data): raise RuntimeError("albumentations was called")
"""


@dataclass
class Running:
    """A process that was started before the first test, so that the others do not wait for it.

    Attributes:
        process: Its standard output and error are text.
        folder: Where it works.
    """

    process: subprocess.Popen
    folder: Path

    def finish(self):
        """Wait for its end: its standard output and error."""
        return self.process.communicate(timeout=300)


@pytest.fixture(scope="module", autouse=True)
def processes(tmp_path_factory):
    """An audited training, one that is killed after its second epoch, and an import alone: all at once."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("audited", "killed", "imported")}
    started = {
        "audited": start_audited(folders["audited"]),
        "killed": start_job(folders["killed"], "2"),
        "imported": start_import(folders["imported"]),
    }
    yield {name: Running(process, folders[name]) for name, process in started.items()}
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return folder, train(folder)


@pytest.fixture
def trainer_module(trained):
    from scanline.train import ultralytics_trainer

    return ultralytics_trainer


def weights_of(folder):
    return torch.load(folder / "model.pt", weights_only=True)["state"]


def assert_equal_weights(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def start_job(folder, *arguments, path=(), **environment):
    """The job as a process of its own, that knows nothing of pytest."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH")}
    kept["PYTHONPATH"] = os.pathsep.join(map(str, (*path, SCRIPTS, HERE)))
    kept["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [sys.executable, str(HERE / "ultralytics_job.py"), str(folder), *arguments]
    if shutil.which("unshare") and not subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode:
        command = ["unshare", "-rn", *command]  # no network interface at all, where that is allowed
    return subprocess.Popen(command, env=kept | environment, cwd=environment.get("HOME"), **PIPES)


def start_audited(place):
    """The job with all that it writes and all connections noted."""
    hooks, home, folder = (place / name for name in ("hooks", "home", "model"))
    for made in (hooks, home, folder):
        made.mkdir()
    (hooks / "sitecustomize.py").write_text(AUDIT)
    (hooks / "albumentations.py").write_text(ALBUMENTATIONS)
    return start_job(
        folder,
        path=[hooks],
        HOME=str(home),
        TMPDIR=str(home),
        XDG_CACHE_HOME=str(home / "cache"),
        NOTES=str(place / "notes.txt"),
        TORCHINDUCTOR_CACHE_DIR=str(folder),  # torchvision's import makes it, whatever is trained
        ULTRALYTICS_API_KEY="ul_" + "0" * 40,
    )


def start_import(place):
    """What prediction does before it loads a model."""
    code = (
        "import torch; from PIL import Image; ours = Image.open, torch.save\n"
        "from scanline.train.ultralytics_detector import import_ultralytics; import_ultralytics()\n"
        "from ultralytics.utils import ONLINE, SETTINGS, AUTOINSTALL\n"
        "print(ONLINE, AUTOINSTALL, SETTINGS['sync'], SETTINGS['mlflow'], ours != (Image.open, torch.save))"
    )
    folders = {"HOME": str(place), "TMPDIR": str(place)}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SCRIPTS), **folders}
    return subprocess.Popen([sys.executable, "-B", "-c", code], env=environment, cwd=place, **PIPES)


def test_a_run_leaves_its_model_its_history_and_its_facts(trained):
    folder, facts = trained
    assert sorted(path.name for path in folder.iterdir()) == ["best.pt", "checkpoint.pt", "history.csv", "model.pt"]
    history = pd.read_csv(folder / "history.csv")
    assert list(history.columns) == COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history.loc[history["is_best"], "epoch"].tolist() == [facts["best_epoch"]]
    assert (history[["train_loss", "val_loss", "seconds"]] > 0).all(axis=None)
    assert history["learning_rate"].is_monotonic_increasing is False
    wanted = {"architecture", "weights", "seed", "epochs", "best_epoch", "best_ap50_95", "stopped_early", "n_train"}
    wanted |= {"n_val", "device", "images_per_second", "train_seconds", "wall_seconds", "parameters", "precision"}
    assert wanted <= facts.keys()
    assert (facts["epochs"], facts["n_train"], facts["n_val"], facts["seed"]) == (3, 8, 4, 5)
    assert facts["ultralytics"].count(".") == 2
    settings = facts["ultralytics_settings"]
    assert (settings["mosaic"], settings["fliplr"], settings["flipud"], settings["hsv_v"]) == (0.0, 0.5, 0.0, 0.0)
    json.dumps(facts, allow_nan=False)
    assert all(value.dtype in (torch.float32, torch.int64) for value in weights_of(folder).values())


def test_equal_weights_when_trained_twice_whatever_the_state_of_the_generators(trained, tmp_path):
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002  (what ultralytics draws from)
    train(tmp_path)
    assert_equal_weights(weights_of(tmp_path), weights_of(trained[0]))


def test_albumentations_changes_nothing_though_ultralytics_alone_would_call_it(trained, tmp_path, monkeypatch):
    (tmp_path / "albumentations.py").write_text(ALBUMENTATIONS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "albumentations", raising=False)
    train(tmp_path / "run")
    assert "albumentations" not in sys.modules
    assert_equal_weights(weights_of(tmp_path / "run"), weights_of(trained[0]))

    from ultralytics.data.augment import Albumentations

    try:
        for transforms in (None, []):  # ultralytics' own, and what is said to switch them off
            with pytest.raises(RuntimeError, match="albumentations was called"):
                Albumentations(p=1.0, transforms=transforms)({"img": np.zeros((8, 8, 3), np.uint8)})
    finally:
        sys.modules.pop("albumentations", None)


def test_nothing_is_fetched_and_nothing_written_outside_the_folder(trained, processes):
    audited = processes["audited"]
    _, errors = audited.finish()
    assert audited.process.returncode == 0, errors
    folder, home = audited.folder / "model", audited.folder / "home"
    told = [line.split("\t", 1) for line in (audited.folder / "notes.txt").read_text().splitlines()]
    assert [line for line in told if line[0] != "write"] == []
    written = {what for _, what in told}
    assert any(what.endswith("settings.json") for what in written)
    assert [what for what in sorted(written) if not Path(what).is_relative_to(folder)] == []
    assert sorted(home.rglob("*")) == []
    assert sorted(path.name for path in folder.iterdir()) == ["best.pt", "checkpoint.pt", "history.csv", "model.pt"]
    assert_equal_weights(weights_of(folder), weights_of(trained[0]))


def test_a_killed_run_resumes_to_the_same_weights(trained, processes):
    killed = processes["killed"]
    _, errors = killed.finish()
    assert killed.process.returncode == -signal.SIGKILL, errors
    folder = killed.folder
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["epoch"] == 2
    assert not (folder / "model.pt").exists()
    train(folder)
    assert_equal_weights(weights_of(folder), weights_of(trained[0]))
    columns = [name for name in COLUMNS if name != "seconds"]
    resumed, undisturbed = (pd.read_csv(one / "history.csv")[columns] for one in (folder, trained[0]))
    pd.testing.assert_frame_equal(resumed, undisturbed, check_exact=True)


def test_a_run_killed_after_its_last_epoch_only_writes_its_results(trained, tmp_path, monkeypatch, trainer_module):
    for name in ("best.pt", "checkpoint.pt"):
        shutil.copy(trained[0] / name, tmp_path)
    monkeypatch.setattr(trainer_module.ResumableTraining, "train", None)
    facts = train(tmp_path)
    assert facts["epochs"] == 3
    assert_equal_weights(weights_of(tmp_path), weights_of(trained[0]))


def test_overfitting_four_images_gives_ap_1_that_the_file_reproduces(tmp_path, monkeypatch, trainer_module):
    save, best = trainer_module.ResumableTraining.save_model, {}

    def save_at_the_end(training):  # to write checkpoints all along takes as long as training
        if training.stopper.best_epoch == training.epoch + 1:
            best.update((name, value.clone()) for name, value in training.ema.ema.state_dict().items())
        if training.epoch + 1 == training.epochs:
            save(training)
            torch.save(best, training.folder / "best.pt")
        return True

    monkeypatch.setattr(trainer_module.ResumableTraining, "save_model", save_at_the_end)
    monkeypatch.setattr(ultralytics_detector, "SHIFT", 0.0)
    monkeypatch.setattr(ultralytics_detector, "ZOOM", 0.0)
    torch.set_num_threads(1)
    samples = make_samples(4)
    job = make_job(epochs=70, batch_size=2, learning_rate=4e-3, patience_epochs=70)
    facts = fit_ultralytics(job, samples, samples, tmp_path, None)
    history = pd.read_csv(tmp_path / "history.csv")
    best = history[history["is_best"]].iloc[0]
    assert best["ap50"] == pytest.approx(1.0)
    assert best["ap50_95"] == facts["best_ap50_95"] == history["ap50_95"].max()
    spec, detector = load_ultralytics(tmp_path / "model.pt", CPU)
    assert spec == DetectorSpec("ultralytics", "yolov8n", ("bleed",), SIZE, 1, (0.0,), (1.0,))
    found = detector(samples.pixels[samples.rows])
    again = average_precision(samples, found)
    assert again == {"ap50": best["ap50"], "ap50_95": best["ap50_95"]}
    for finds in found:
        assert finds.boxes.dtype == finds.scores.dtype == np.float32
        assert (finds.boxes >= 0).all()
        assert (finds.boxes <= SIZE).all()
        assert (finds.scores >= MIN_SCORE).all()
        assert (np.diff(finds.scores) <= 0).all()
        assert set(finds.classes.tolist()) <= {1}


def test_patience_ends_training_and_the_best_epoch_is_kept(trained, tmp_path, monkeypatch, trainer_module):
    aps = iter([0.1, 0.3, 0.3, 0.9])
    measured = {"val_loss": 1.0, "ap50": 0.5}
    monkeypatch.setattr(
        trainer_module.ResumableTraining,
        "validate",
        lambda training: ({**measured, "ap50_95": (ap := next(aps))}, ap),
    )
    facts = train(tmp_path, make_job(epochs=5, patience_epochs=1))
    assert (facts["epochs"], facts["best_epoch"], facts["best_ap50_95"]) == (3, 2, 0.3)
    assert facts["stopped_early"] is True
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["average"]
    assert not torch.equal(kept["model.0.conv.weight"], weights_of(tmp_path)["model.0.conv.weight"])


@pytest.mark.parametrize("architecture", ["yolo11n", "yolov5nu"])
def test_other_architectures_train_and_load(tmp_path, architecture):
    train(tmp_path, make_job(architecture, epochs=1, channels=3))
    spec, detector = load_ultralytics(tmp_path / "model.pt", CPU)
    assert (spec.architecture, spec.channels) == (architecture, 3)
    assert len(detector(make_samples(3).pixels)) == 3


def test_two_losses_of_changing_weight_resume_too(tmp_path, monkeypatch, trainer_module):
    job = make_job("yolo26n", epochs=2)
    train(tmp_path / "undisturbed", job)
    save = trainer_module.ResumableTraining.save_model

    def save_and_stop(training):
        save(training)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.ResumableTraining, "save_model", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "stopped", job)
    train(tmp_path / "stopped", job)
    assert_equal_weights(weights_of(tmp_path / "stopped"), weights_of(tmp_path / "undisturbed"))
    spec, detector = load_ultralytics(tmp_path / "stopped" / "model.pt", CPU)
    assert (spec.architecture, len(detector(make_samples(3).pixels))) == ("yolo26n", 3)


def test_weights_come_from_a_state_dict_a_model_of_ours_or_a_checkpoint_of_ultralytics(
    trained, tmp_path, trainer_module
):
    torch.manual_seed(1)
    network = trainer_module.build_network("yolov8n", 1, 1)
    count = len(network.state_dict())
    network.__class__ = trainer_module.DetectionModel  # which ultralytics saves
    torch.save(network.state_dict(), tmp_path / "state.pt")
    torch.save({"model": network, "ema": None, "epoch": -1}, tmp_path / "checkpoint.pt")
    (tmp_path / "record.json").write_text(json.dumps({"path": str(tmp_path / "state.pt")}))
    for name in ("record.json", "checkpoint.pt"):
        facts = train(tmp_path / name.split(".")[0], make_job(weights=name, epochs=1), tmp_path / name)
        assert (facts["tensors_from_weights"], facts["weights"]) == (count, name)
    assert_equal_weights(weights_of(tmp_path / "record"), weights_of(tmp_path / "checkpoint"))
    # By now ultralytics has told torch its classes, for the life of the process.
    train(tmp_path / "twice", make_job(weights="checkpoint.pt", epochs=1), tmp_path / "checkpoint.pt")
    assert_equal_weights(weights_of(tmp_path / "twice"), weights_of(tmp_path / "checkpoint"))
    facts = train(tmp_path / "again", make_job(weights="model.pt", epochs=1), trained[0] / "model.pt")
    assert facts["tensors_from_weights"] == count
    assert not torch.equal(
        weights_of(tmp_path / "again")["model.0.conv.weight"], weights_of(tmp_path / "record")["model.0.conv.weight"]
    )


class Intruder:
    def __reduce__(self):
        return os.mkdir, ("intruder_was_here",)


def test_weights_that_do_not_fit_or_would_run_code_are_refused_in_one_line(tmp_path, monkeypatch, trainer_module):
    monkeypatch.chdir(tmp_path)
    torch.save(trainer_module.build_network("yolo11s", 1, 1).state_dict(), tmp_path / "other.pt")
    torch.save({"model": Intruder()}, tmp_path / "bad.pt")
    (tmp_path / "noise.pt").write_bytes(b"noise")
    job = make_job(weights="file.pt", epochs=1)
    for name in ("other.pt", "bad.pt", "noise.pt", "missing.pt"):
        with pytest.raises(InputError, match=name) as error:
            train(tmp_path / "run", job, tmp_path / name)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "intruder_was_here").exists()
    with pytest.raises(InputError, match=r"file\.pt"):
        train(tmp_path / "run", job, None)


def test_unknown_networks_and_sizes_that_would_be_padded_are_one_line(tmp_path, trainer_module):
    for name in ("yolov8q", "yolov99n", "u", "../yolov8n"):
        with pytest.raises(InputError, match="no such detector in ultralytics") as error:
            trainer_module.build_network(name, 1, 1)
        assert "\n" not in str(error.value)
    samples = make_samples(4)
    for size in (72, 32):
        small = type(samples)(**{**vars(samples), "pixels": np.zeros((4, size, size), np.uint8)})
        with pytest.raises(InputError, match=str(size)):
            fit_ultralytics(make_job(), small, small, tmp_path, None)


def test_a_loss_that_is_not_finite_and_rates_beyond_1_are_errors(tmp_path, monkeypatch, trainer_module):
    with pytest.raises(InputError, match=r"training\.learning_rate: found 2"):
        train(tmp_path, make_job(learning_rate=2))
    measured = {"val_loss": float("nan"), "ap50": 0.0, "ap50_95": 0.0}
    monkeypatch.setattr(trainer_module.ResumableTraining, "validate", lambda training: (measured, 0.0))
    with pytest.raises(InputError, match="not finite in epoch 1"):
        train(tmp_path, make_job())


def test_a_file_of_something_else_is_no_model(tmp_path, trained):
    torch.save({"spec": "{}", "state": {}}, tmp_path / "model.pt")
    for path in (tmp_path / "model.pt", tmp_path / "none.pt", trained[0] / "history.csv"):
        with pytest.raises(InputError, match=path.name):
            load_ultralytics(path, CPU)


def test_importing_to_predict_leaves_no_folder_and_changes_no_other_package(tmp_path, processes):
    imported = processes["imported"]
    told, errors = imported.finish()
    assert imported.process.returncode == 0, errors
    assert told.split() == ["False"] * 5
    assert sorted(imported.folder.rglob("*")) == []
    import_ultralytics(tmp_path / "unused")  # imported already: nothing to do
    assert not (tmp_path / "unused").exists()


def images_of(trainer_module, folder, samples, mode, augmentation):
    from ultralytics.cfg import get_cfg

    write_yolo(folder, samples.pixels, {mode: subset_of(samples)}, ["bleed"], 1)
    settings = get_cfg(overrides=augmentation_settings(augmentation))
    return trainer_module.SeededImages(
        img_path=str(folder / "images" / mode),
        imgsz=SIZE,
        augment=mode == "train",
        hyp=settings,
        data={"names": {0: "bleed"}, "channels": 1},
    )


def subset_of(samples):
    return YoloSubset(samples.rows, samples.boxes, [numbers - 1 for numbers in samples.classes])


def test_val_images_and_boxes_reach_the_network_as_the_cache_holds_them(tmp_path, trainer_module):
    samples = make_samples(12)
    images = images_of(trainer_module, tmp_path, samples, "val", BoxAugmentation())
    assert len(images) == 12
    for position in range(12):
        item = images[position]
        assert np.array_equal(item["img"].numpy()[0], samples.pixels[position])
        boxes = item["bboxes"].numpy() * SIZE
        corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1)
        np.testing.assert_allclose(corners, samples.boxes[position], atol=1e-4)


def test_training_images_move_with_their_boxes_onto_black_by_epoch_and_image_alone(tmp_path, trainer_module):
    samples = make_samples(6)
    images = images_of(trainer_module, tmp_path, samples, "train", BoxAugmentation(horizontal_flip=True))
    images.epoch_seed = 7
    forwards = [images[position]["img"] for position in range(6)]
    backwards = [images[position]["img"] for position in reversed(range(6))][::-1]
    assert all(torch.equal(one, other) for one, other in zip(forwards, backwards, strict=True))
    images.epoch_seed = 8
    assert not torch.equal(images[0]["img"], forwards[0])
    borders = 0
    for epoch in range(30):
        images.epoch_seed = epoch
        item = images[0]
        image, box = item["img"].numpy()[0], item["bboxes"].numpy()[0] * SIZE
        bright = np.argwhere(image > 130)[:, ::-1]
        corners = np.concatenate([bright.min(0), bright.max(0) + 1])
        told = np.concatenate([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2])
        np.testing.assert_allclose(corners, told, atol=1.6)
        borders += int((image == 0).mean() > 0.05)
        assert not (image == 114).mean() > 0.01
    assert borders > 5


def test_the_task_decides_on_flips_and_its_crop_is_a_zoom():
    settings = augmentation_settings(BoxAugmentation(vertical_flip=True, crop_min_scale=0.25))
    assert (settings["fliplr"], settings["flipud"]) == (0.0, 0.5)
    assert settings["scale"] == [0.75, 2.0]
    assert augmentation_settings(BoxAugmentation())["scale"] == [0.75, 1.25]


def test_boxes_are_suppressed_cut_to_the_image_and_ordered(trainer_module):
    boxes = torch.tensor([[32, 32, 20, 20], [33, 32, 20, 20], [0, 0, 30, 30], [90, 90, 10, 10], [10, 50, 8, 8]]).float()
    scores = torch.tensor([[0.5], [0.9], [0.3], [0.8], [0.0005]])
    (found,) = trainer_module.find_boxes(torch.cat([boxes, scores], 1).T[None], SIZE, 1, end2end=False)
    np.testing.assert_allclose(found.boxes, [[23, 22, 43, 42], [0, 0, 15, 15]])
    np.testing.assert_allclose(found.scores, [0.9, 0.3])
    assert found.classes.tolist() == [1, 1]


def test_the_data_set_is_what_yolo_reads_and_a_half_written_one_is_begun_anew(tmp_path):
    samples = make_samples(3)
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "images" / "train" / "000009.png").write_bytes(b"cut off")
    (tmp_path / "kept.txt").write_text("not ours")
    description = write_yolo(tmp_path, samples.pixels, {"train": subset_of(samples)}, ["bleed"], 3)
    assert yaml.safe_load(description.read_text()) == {"train": "images/train", "names": {0: "bleed"}, "channels": 3}
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    names = [f"{number:06d}" for number in range(3)]
    assert files == sorted(
        ["data.yaml", "kept.txt", *(f"images/train/{n}.png" for n in names), *(f"labels/train/{n}.txt" for n in names)]
    )
    for number in range(3):
        with Image.open(tmp_path / "images" / "train" / f"{number:06d}.png") as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), samples.pixels[number])
    assert (tmp_path / "labels" / "train" / "000002.txt").read_text() == ""
    number, *shares = (tmp_path / "labels" / "train" / "000000.txt").read_text().split()
    centre_x, centre_y, width, height = (float(share) * SIZE for share in shares)
    assert number == "0"
    corners = [centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2]
    np.testing.assert_allclose(corners, samples.boxes[0][0], atol=1e-5)
    (tmp_path / "images" / "train" / "000000.png").unlink()
    write_yolo(tmp_path, samples.pixels, {"train": subset_of(samples)}, ["bleed"], 3)
    assert not (tmp_path / "images" / "train" / "000000.png").exists()  # a finished one is left alone
