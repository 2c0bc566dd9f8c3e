"""Classes that nobody looked for on an image: the image stays in a detector's training, the class out of its loss."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from boxed_images import write_boxed_study
from ultralytics_job import make_job, make_samples

from scanline.core.errors import InputError
from scanline.prepare.detection_set import select_set, without_partly_known
from scanline.train.detection import DetectionJob, Detections, load_detection_samples
from scanline.train.detection_ap import average_precision
from scanline.train.detection_batches import augment_with_boxes, gather_boxes
from scanline.train.detector_model import TunedModel
from scanline.train.options import BoxAugmentation, DetectTask, ModelOptions
from scanline.train.torchvision_detector import DetectorTrainer
from scanline.train.ultralytics_detector import fit_ultralytics, import_ultralytics, load_ultralytics

CPU = torch.device("cpu")
TWO = ("bleed", "clot")


def samples_knowing(clot, count=4, first=0):
    """Images with boxes of the first of two classes; whether somebody looked for the second is told by `clot`."""
    known = np.ones((count, 2), dtype=bool)
    known[:, 1] = clot
    return replace(make_samples(count, first), known=None if known.all() else known)


def two_classes(architecture="yolov8n", **training):
    job = make_job(architecture, **training)
    return replace(job, task=DetectTask(kind="detect", targets=TWO))


# --- which images are taken ---


def test_an_image_stays_where_one_target_is_known(tmp_path):
    files = write_boxed_study(tmp_path)
    labels = pd.read_parquet(files["labels"])
    labels["clot"] = pd.array([None, False] * (len(labels) // 2), dtype="boolean")
    labels.to_parquet(files["labels"])
    samples = load_detection_samples(**files, targets=TWO)
    truth = labels.set_index("image_id")
    for subset in samples.values():
        assert subset.known.tolist() == truth.loc[subset.image_ids, list(TWO)].notna().to_numpy().tolist()
        assert subset.n_partly_known == int((~subset.known).any(axis=1).sum()) > 0
    alone = load_detection_samples(**files, targets=("bleed",))
    assert all(subset.known is None and subset.n_partly_known == 0 for subset in alone.values())
    kept = set(samples["train"].image_ids)
    assert kept - set(alone["train"].image_ids) == {"made/007"}  # of which the bleed alone is unknown
    labels["clot"] = pd.array([None] * len(labels), dtype="boolean")
    labels.to_parquet(files["labels"])
    assert load_detection_samples(**files, targets=TWO)["train"].left_out["unknown"] == 1  # both are


def test_a_set_without_partly_known_images_counts_them(tmp_path):
    files = write_boxed_study(tmp_path)
    labels = pd.read_parquet(files["labels"])
    labels["clot"] = pd.array([None, False] * (len(labels) // 2), dtype="boolean")
    tables = [pd.read_parquet(files[name]) for name in ("images", "boxes")]
    whole = select_set(*tables, labels, pd.read_parquet(files["split"]), TWO)
    lacking = whole.images.set_index("image_id")["unknown_targets"]
    truth = labels.set_index("image_id").loc[lacking.index]
    assert (lacking == "clot").equals(truth["clot"].isna() & truth["bleed"].notna())
    assert lacking["made/007"] == "bleed"
    narrowed = without_partly_known(whole)
    assert narrowed.images["image_id"].tolist() == lacking.index[lacking.isna()].tolist()
    assert narrowed.boxes["image_id"].isin(narrowed.images["image_id"]).all()
    counts = {subset: reasons["partly_known"] for subset, reasons in narrowed.left_out.items()}
    assert sum(counts.values()) == int(lacking.notna().sum())
    assert counts["train"] == int(lacking[whole.images["subset"].eq("train").to_numpy()].notna().sum())


def test_what_is_known_goes_with_an_image_through_augmentation():
    samples = samples_knowing([True, False, True, False])
    images, targets = gather_boxes(samples, torch.tensor([3, 0]))
    assert [target["known"].tolist() for target in targets] == [[True, False], [True, True]]
    _, moved = augment_with_boxes(images, targets, BoxAugmentation(horizontal_flip=True), torch.Generator())
    assert [target["known"].tolist() for target in moved] == [[True, False], [True, True]]
    assert "known" not in gather_boxes(samples_knowing(True), torch.tensor([0]))[1][0]


def test_a_detection_of_an_unknown_class_does_not_count():
    samples = samples_knowing([False, True, True, True])
    second = (np.array([[1, 1, 9, 9]], np.float32), np.array([2]))
    boxes = (*samples.boxes[:3], np.concatenate([samples.boxes[3], second[0]]))
    classes = (*samples.classes[:3], np.concatenate([samples.classes[3], second[1]]))
    samples = replace(samples, boxes=boxes, classes=classes)  # the last image has the only box of the second class
    found = [
        Detections(own, numbers, np.full(len(own), 0.5, np.float32))
        for own, numbers in zip(boxes, classes, strict=True)
    ]
    first, high = found[0], np.array([0.9], np.float32)
    found[0] = Detections(
        np.concatenate([first.boxes, second[0]]),
        np.concatenate([first.classes, second[1]]),
        np.concatenate([first.scores, high]),
    )
    assert average_precision(samples, found) == {"ap50": 1.0, "ap50_95": 1.0}
    everywhere = average_precision(replace(samples, known=None), found)["ap50"]
    assert everywhere == pytest.approx((1 + 0.5) / 2, abs=1e-6)  # a false alarm above the only box


# --- the loss ---

NETWORKS = [
    "ssdlite320_mobilenet_v3_large",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
]


def biases_of_second_class(model, architecture):
    """Views of the biases behind the logits of the second class, in the layers that give logits."""
    if architecture.startswith("fasterrcnn"):
        return [model.roi_heads.box_predictor.cls_score.bias[2:3]]
    head = model.head.classification_head
    layers = [layers[-1] for layers in head.module_list] if architecture.startswith("ssd") else [head.cls_logits]
    return [layer.bias.view(-1, 3)[:, 2] for layer in layers]


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_loss_of_torchvisions_networks_knows_nothing_of_an_unknown_class(tmp_path, architecture):
    base = two_classes()
    options = ModelOptions(architecture=architecture, weights="none", channels=1)
    job = DetectionJob(base.task, options, base.training, 1, CPU)
    trainer = DetectorTrainer(job, samples_knowing(False), samples_knowing(True), tmp_path)

    @torch.no_grad()
    def losses():
        """Where the second class is unknown on all images, on the second half of them, and on none."""
        return [
            trainer._val_loss(*gather_boxes(samples_knowing(clot), torch.arange(4)))
            for clot in (False, [True, True, False, False], True)
        ]

    before = losses()
    with torch.no_grad():
        for bias in biases_of_second_class(trainer.model, architecture):
            bias += 3
    after = losses()
    assert after[0] == before[0]
    assert before[1] < after[1] < after[2]
    assert np.isfinite(after).all()


@pytest.mark.parametrize("architecture", ["yolov8n", "yolo26n"])  # with one head, and with two
def test_the_loss_of_ultralytics_knows_nothing_of_an_unknown_class(tmp_path, architecture):
    import_ultralytics(tmp_path)
    from ultralytics.utils import DEFAULT_CFG

    from scanline.train.ultralytics_trainer import build_network

    torch.manual_seed(0)
    network = build_network(architecture, 2, 1)
    network.args = DEFAULT_CFG
    samples = samples_knowing([True, True, False, False])
    images, targets = gather_boxes(samples, torch.arange(4))
    corners = torch.cat([target["boxes"] for target in targets]) / 64
    sides = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], dim=1)
    batch = {
        "img": images.float() / 255,
        "bboxes": sides,
        "cls": torch.zeros(len(sides)),
        "batch_idx": torch.tensor([n for n, target in enumerate(targets) for _ in target["boxes"]]).float(),
    }

    def losses():
        knowing = {"all": {}, "half": {"known": torch.from_numpy(samples.known)}, "none": {"known": of_none}}
        return {name: float(network.loss({**batch, **known})[0].sum()) for name, known in knowing.items()}

    of_none = torch.tensor([True, False]).expand(4, 2)
    network.train()
    before = losses()
    with torch.no_grad():
        detect = network.model[-1]
        for layers in [*detect.cv3, *getattr(detect, "one2one_cv3", [])]:
            layers[-1].bias[1] += 3
    after = losses()
    assert after["none"] == pytest.approx(before["none"], rel=1e-6)
    assert before["half"] + 1 < after["half"] < after["all"]


def test_ultralytics_training_leaves_the_logits_of_an_unknown_class_as_they_were(tmp_path):
    torch.set_num_threads(1)
    train, val = samples_knowing(False, 8), samples_knowing(True, 4, first=100)
    facts = fit_ultralytics(two_classes(epochs=1), train, val, tmp_path / "unknown", None)
    fit_ultralytics(two_classes(epochs=1), replace(train, known=None), val, tmp_path / "known", None)
    fresh = fresh_biases()
    unknown, known = (biases(tmp_path / name / "model.pt") for name in ("unknown", "known"))
    assert facts["n_train"] == 8
    assert torch.allclose(unknown[:, 1], fresh[:, 1], atol=1e-6)
    assert not torch.allclose(unknown[:, 0], fresh[:, 0], atol=1e-4)
    assert not torch.allclose(known[:, 1], fresh[:, 1], atol=1e-4)


def test_images_with_unknown_classes_are_not_mixed_with_others(tmp_path):
    job = two_classes(epochs=1)
    model = TunedModel(**job.model.model_dump(), ultralytics={"mosaic": 0.5})
    with pytest.raises(InputError, match=r"ultralytics\.mosaic: found 0\.5, and 8 training images on which a class"):
        fit_ultralytics(replace(job, model=model), samples_knowing(False, 8), samples_knowing(True), tmp_path, None)


def fresh_biases():
    from scanline.train.ultralytics_trainer import build_network

    torch.manual_seed(make_job().seed)
    return biases_of(build_network("yolov8n", 2, 1))


def biases(path):
    return biases_of(load_ultralytics(path, CPU)[1].network)


def biases_of(network):
    """Of the logits, shape (strides, 2)."""
    return torch.stack([layers[-1].bias.detach() for layers in network.model[-1].cv3])
