"""Test-time augmentation: what is said of a view is turned back to where it is in the image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from scanline.core.errors import InputError
from scanline.predict.augmented_detector import AugmentedDetector
from scanline.predict.classifier import score_images, score_views
from scanline.predict.grad_cam import last_feature_map
from scanline.predict.segmenter import map_images, map_views
from scanline.predict.study_options import StudyNetwork
from scanline.predict.test_time_augmentation import View, require_sizes, views_of
from scanline.predict.test_time_augmentation_options import TtaOptions
from scanline.train.detection import MIN_SCORE, Detections, DetectorSpec
from scanline.train.segmentation_networks import SegmenterSpec
from scanline.train.torchvision_classifier import ClassifierSpec

SIZE = 64
BOTH_FLIPS = TtaOptions(horizontal_flip=True, vertical_flip=True)
ALL = TtaOptions(horizontal_flip=True, vertical_flip=True, scales=(1.0, 1.5, 0.5))
CPU = torch.device("cpu")


@st.composite
def boxes(draw, size=SIZE):
    x0, y0 = draw(st.integers(0, size - 2)), draw(st.integers(0, size - 2))
    return x0, y0, draw(st.integers(x0 + 1, size)), draw(st.integers(y0 + 1, size))


def drawn(box, size=SIZE):
    image = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    image[0, 0, box[1] : box[3], box[0] : box[2]] = 255
    return image


def bounding_box(image):
    rows, columns = np.nonzero(np.asarray(image) > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else None


@given(box=boxes(), flip_x=st.booleans(), flip_y=st.booleans())
def test_a_box_seen_in_a_flipped_view_is_where_it_was_drawn(box, flip_x, flip_y):
    view = View(SIZE, flip_x, flip_y)
    seen = bounding_box(view.show(drawn(box))[0, 0])
    assert view.turn_boxes_back([seen], SIZE).tolist() == [list(box)]


@given(box=boxes(), flip_x=st.booleans(), flip_y=st.booleans(), size=st.sampled_from([32, 128, 192]))
def test_a_box_in_a_resized_view_is_turned_back_to_scale(box, flip_x, flip_y, size):
    there = np.array(box) * size / SIZE
    x0, y0, x1, y1 = there
    x0, x1 = (size - x1, size - x0) if flip_x else (x0, x1)
    y0, y1 = (size - y1, size - y0) if flip_y else (y0, y1)
    back = View(size, flip_x, flip_y).turn_boxes_back([[x0, y0, x1, y1]], SIZE)
    np.testing.assert_allclose(back, [box], atol=1e-9)


@given(flip_x=st.booleans(), flip_y=st.booleans(), seed=st.integers(0, 100))
def test_maps_are_turned_back_exactly(flip_x, flip_y, seed):
    maps = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    view = View(5, flip_x, flip_y)
    assert torch.equal(view.turn_maps_back(view.show(maps), (5, 5)), maps)


def test_a_resized_view_keeps_the_image():
    image = drawn((16, 32, 48, 60))
    shown = View(128).show(image)
    assert shown.shape == (1, 1, 128, 128)
    assert shown.dtype == torch.uint8
    assert bounding_box(shown[0, 0]) == [32, 64, 96, 120]
    assert View(SIZE).show(image) is image


def test_the_views_are_every_scale_in_every_flip():
    assert views_of(None, SIZE) == (View(SIZE),)
    assert [(view.size_px, view.flip_x, view.flip_y) for view in views_of(ALL, SIZE)] == [
        (size, x, y) for size in (64, 96, 32) for y in (False, True) for x in (False, True)
    ]
    assert views_of(TtaOptions(scales=(1.0, 1.3)), 300) == (View(300), View(384))


def test_scales_that_come_to_one_size_are_refused():
    with pytest.raises(InputError, match="at 64 px these are 64, 64 px"):
        views_of(TtaOptions(scales=(1.0, 1.1)), SIZE)


@pytest.mark.parametrize(
    ("values", "words"),
    [({}, "one view is no"), ({"scales": [1, 1]}, "each scale once"), ({"scales": [4]}, "less than or equal to 2")],
)
def test_options_that_change_nothing_are_refused(values, words):
    with pytest.raises(ValidationError, match=words):
        TtaOptions(**values)


def test_a_network_of_one_size_takes_flips_alone():
    StudyNetwork(architecture="vit_b_16", test_time_augmentation=BOTH_FLIPS)
    with pytest.raises(ValidationError, match="vit_b_16 takes images of one size"):
        StudyNetwork(architecture="vit_b_16", test_time_augmentation=ALL)


def test_training_is_told_nothing_of_it():
    plain, other = (
        StudyNetwork(architecture="resnet18"),
        StudyNetwork(architecture="resnet18", test_time_augmentation=BOTH_FLIPS),
    )
    assert plain.network() == other.network()


def test_a_size_that_a_network_fails_on_is_refused_in_one_line():
    def network(images):
        if images.shape[-1] != SIZE:
            raise RuntimeError("sizes do not match")

    require_sizes(views_of(BOTH_FLIPS, SIZE), SIZE, network)
    with pytest.raises(InputError, match="images of 32 px, on which the network fails: sizes do not match"):
        require_sizes(views_of(ALL, SIZE), SIZE, network)


def speckled(count=3, seed=0):
    return torch.randint(
        0, 256, (count, 1, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


CLASSIFIER = ClassifierSpec("resnet18", 1, SIZE, (0.5,), (0.25,), ("bleed",))


def symmetric_classifier():
    """Looks at single pixels and takes the highest: flips change nothing, to the last bit."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 1),
        )
    return model.eval().requires_grad_(False)


def test_a_symmetric_classifier_says_the_same_with_and_without():
    model, images = symmetric_classifier(), speckled()
    layer = last_feature_map(model, torch.zeros(1, 1, SIZE, SIZE))
    plain, cams = score_images(CLASSIFIER, model, layer, images)
    augmented, turned = score_views(CLASSIFIER, model, layer, images, views_of(BOTH_FLIPS, SIZE))
    np.testing.assert_array_equal(augmented, plain)
    assert turned.dtype == cams.dtype
    np.testing.assert_allclose(turned, cams, atol=2e-3)


def test_the_image_alone_gives_what_it_gave():
    model, images = symmetric_classifier(), speckled()
    layer = last_feature_map(model, torch.zeros(1, 1, SIZE, SIZE))
    plain, cams = score_images(CLASSIFIER, model, layer, images)
    alone, same = score_views(CLASSIFIER, model, layer, images, views_of(None, SIZE))
    np.testing.assert_array_equal(alone, plain)
    np.testing.assert_array_equal(same, cams)


class LeftHalf(nn.Module):
    """The logit is the mean of the image's left half."""

    def forward(self, images):
        return images[..., : images.shape[-1] // 2].mean(dim=(1, 2, 3))[:, None]


def test_probabilities_of_the_views_are_averaged():
    image = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.uint8)
    image[..., : SIZE // 2] = 255
    flipped = views_of(TtaOptions(horizontal_flip=True), SIZE)
    probability, cams = score_views(CLASSIFIER, LeftHalf(), None, image, flipped)
    assert cams is None
    expected = (1 / (1 + np.exp(-2.0)) + 1 / (1 + np.exp(2.0))) / 2  # (1 - 0.5) / 0.25 and (0 - 0.5) / 0.25
    np.testing.assert_allclose(probability, [[expected]], rtol=1e-6)


SEGMENTER = SegmenterSpec("unet", "resnet18", 1, SIZE, (0.5,), (0.25,), "bleed")


def test_a_segmentation_network_of_single_pixels_says_the_same_with_and_without():
    images = speckled()
    plain = map_images(SEGMENTER, nn.Identity(), images)
    np.testing.assert_array_equal(map_views(SEGMENTER, nn.Identity(), images, views_of(BOTH_FLIPS, SIZE)), plain)


def test_maps_of_all_views_lie_over_each_other():
    image = drawn((8, 16, 24, 40))
    mean = map_views(SEGMENTER, nn.Identity(), image, views_of(ALL, SIZE))
    assert mean.shape == (1, SIZE, SIZE)
    assert bounding_box(mean[0]) == [8, 16, 24, 40]


class Finder:
    """Finds the bright rectangle, and says how bright it is."""

    def __init__(self):
        self.sizes = set()

    def __call__(self, images):
        self.sizes.add(images.shape[-1])
        found = [bounding_box(image) for image in images]
        return [
            Detections(
                np.array([box] if box else np.zeros((0, 4)), np.float32).reshape(-1, 4),
                np.ones(1 if box else 0, np.int64),
                np.full(1 if box else 0, 0.8, np.float32),
            )
            for box in found
        ]


@settings(deadline=None, max_examples=30)
@given(box=boxes())
def test_a_detector_that_flips_do_not_fool_says_the_same_with_and_without(box):
    images = np.concatenate([drawn(box)[:, 0].numpy(), np.zeros((1, SIZE, SIZE), np.uint8)])
    found, nothing = AugmentedDetector(Finder(), BOTH_FLIPS, SIZE)(images)
    np.testing.assert_allclose(found.boxes, [box], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.8], rtol=1e-6)
    assert found.boxes.dtype == np.float32
    assert found.classes.tolist() == [1]
    assert len(nothing.boxes) == 0


def test_boxes_of_all_scales_are_fused_in_pixels_of_the_image():
    finder = Finder()
    (found,) = AugmentedDetector(finder, ALL, SIZE)(drawn((16, 8, 48, 40))[:, 0].numpy())
    np.testing.assert_allclose(found.boxes, [[16, 8, 48, 40]], atol=0.7)
    np.testing.assert_allclose(found.scores, [0.8], rtol=1e-6)
    assert finder.sizes == {32, 64, 96}


def test_what_one_view_alone_finds_is_believed_less():
    class Once(Finder):
        def __call__(self, images):
            found = super().__call__(images)
            return (
                found
                if images[0, 0, 0]
                else [Detections(one.boxes[:0], one.classes[:0], one.scores[:0]) for one in found]
            )

    image = drawn((16, 8, 48, 40))[:, 0].numpy()
    image[0, 0, 0] = 1  # told by this corner, the view without a flip
    (found,) = AugmentedDetector(Once(), BOTH_FLIPS, SIZE)(image)
    np.testing.assert_allclose(found.scores, [0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("family", "architecture"), [("torchvision", "ssdlite320_mobilenet_v3_large"), ("ultralytics", "yolov8n")]
)
def test_detectors_of_both_families_take_the_views(family, architecture):
    torch.manual_seed(0)
    spec = DetectorSpec(family, architecture, ("bleed",), SIZE, 1, (0.0,), (1.0,))
    if family == "torchvision":
        from scanline.train.torchvision_detector import TorchvisionDetector, build_detector

        detector = TorchvisionDetector(spec, build_detector(spec).eval(), CPU)
    else:
        from scanline.train.ultralytics_detector import UltralyticsDetector, import_ultralytics

        import_ultralytics()
        from scanline.train.ultralytics_trainer import build_network

        detector = UltralyticsDetector(spec, build_network(architecture, 1, 1), CPU)
    images = speckled(2)[:, 0].numpy()
    before = detector(images)
    augmented = AugmentedDetector(detector, ALL, SIZE)(images)
    for one in augmented:
        assert (one.boxes >= 0).all()
        assert (one.boxes <= SIZE).all()
        assert (one.scores >= MIN_SCORE).all()
    large = View(96).show(torch.from_numpy(images)[:, None])[:, 0].numpy()
    assert max(one.boxes.max() for one in detector(large) if len(one.boxes)) > SIZE
    for one, same in zip(before, detector(images), strict=True):  # other sizes leave nothing behind
        np.testing.assert_array_equal(one.boxes, same.boxes)
        np.testing.assert_array_equal(one.scores, same.scores)
