import numpy as np
import pytest
import torch

import scanline.core.torchvision_compat as compat
from scanline.core.errors import InputError
from scanline.predict.grad_cam import last_feature_map, scores_with_cams
from scanline.train.batches import augment, gather, normalise, vary_grey
from scanline.train.network_names import CLASSIFICATION_MODELS
from scanline.train.options import Augmentation
from scanline.train.torchvision_classifier import (
    IMAGENET_MEAN,
    ClassifierSpec,
    build_classifier,
    head_of,
    input_statistics,
    load_classifier,
    save_classifier,
)
from scanline.train.weights import load_pretrained

from torchvision.models import get_model  # isort: skip


def spec(architecture="resnet18", channels=1, size=64):
    return ClassifierSpec(architecture, channels, size, (0.5,) * channels, (0.25,) * channels, ("bleed",))


def test_the_list_of_names_is_torchvisions():
    import torchvision.models

    names = torchvision.models.list_models(module=torchvision.models)
    assert set(CLASSIFICATION_MODELS) == set(names) - {"inception_v3", "googlenet"}


def test_nms_without_torchvisions_library_equals_the_definition():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30], [0, 0, 10, 4]])
    scores = torch.tensor([0.5, 0.9, 0.3, 0.8])
    assert compat._nms(boxes, scores, 0.5).tolist() == [1, 3, 2]
    assert compat._nms(boxes, scores, 0.2).tolist() == [1, 2]
    assert compat._nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    import torchvision

    assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [1, 3, 2]


@pytest.mark.parametrize(
    "architecture",
    ["resnet18", "efficientnet_b0", "densenet121", "convnext_tiny", "squeezenet1_1", "vit_b_16"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_families_take_one_or_three_channels_and_give_one_score(architecture, channels):
    model = build_classifier(spec(architecture, channels)).eval()
    assert model(torch.zeros(2, channels, 64, 64)).shape == (2, 1)


NAMED = ("resnet34", "resnet50", *(f"efficientnet_b{number}" for number in range(5)), "densenet121", "convnext_tiny")


@pytest.mark.parametrize(("architecture", "channels"), [*((name, 1) for name in NAMED), ("vit_b_16", 3)])
def test_every_weight_of_the_usual_backbones_learns(architecture, channels):
    torch.manual_seed(0)
    model = build_classifier(spec(architecture, channels, 32)).train()
    model(torch.randn(4, channels, 32, 32)).square().sum().backward()
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert not without
    head = model.get_submodule(head_of(model))
    assert (head.out_features, head.weight.grad.abs().sum() > 0) == (1, True)


def test_grey_input_of_pretrained_weights_equals_the_repeated_image():
    torch.manual_seed(0)
    import torchvision

    state = torchvision.models.resnet18(num_classes=1000).state_dict()
    torch.manual_seed(1)
    colour = build_classifier(spec(channels=3), state).eval()
    torch.manual_seed(1)
    grey = build_classifier(spec(channels=1), state).eval()
    grey.fc.load_state_dict(colour.fc.state_dict())
    image = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(grey(image), colour(image.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_are_one_line(tmp_path):
    path = tmp_path / "weights of mine.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="resnet18"):
        build_classifier(spec(channels=3), load_pretrained(path))
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"weights of mine\.pth"):
        load_pretrained(path)
    with pytest.raises(InputError, match="state dict"):
        load_pretrained(tmp_path / "missing.pth")


def test_images_too_small_for_the_architecture_are_one_line():
    with pytest.raises(InputError, match="16 px"):
        build_classifier(spec("alexnet", 3, 16))


def test_model_file_comes_back_equal_under_any_name(tmp_path):
    model = build_classifier(spec()).eval()
    save_classifier(tmp_path / "model.pt", spec(), model)
    read_spec, read_model = load_classifier(tmp_path / "model.pt", torch.device("cpu"))
    assert read_spec == spec()
    image = torch.randn(1, 1, 64, 64)
    torch.testing.assert_close(read_model(image), model(image), rtol=0, atol=0)
    (tmp_path / "model.pt").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"model\.pt"):
        load_classifier(tmp_path / "model.pt", torch.device("cpu"))


def test_input_statistics():
    assert input_statistics("imagenet", 3, 0.2, 0.1)[0] == IMAGENET_MEAN
    assert input_statistics("none", 1, 0.2, 0.1) == ((0.2,), (0.1,))
    assert input_statistics("none", 3, 0.2, 0.0) == ((0.2,) * 3, (1e-6,) * 3)


def test_normalise_is_the_plain_formula():
    images = torch.arange(0, 256, dtype=torch.uint8).view(1, 1, 16, 16)
    out = normalise(images, (0.5, 0.4), (0.25, 0.2))
    torch.testing.assert_close(out[0, 1], (images[0, 0].float() / 255 - 0.4) / 0.2)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_augmentation_flips_half_and_crops_within_the_image():
    images = torch.zeros(400, 1, 16, 16, dtype=torch.uint8)
    images[:, :, :, :8] = 200
    flipped = augment(images, Augmentation(horizontal_flip=True), torch.Generator().manual_seed(0))
    right = (flipped[:, 0, 0, -1] == 200).float().mean()
    assert 0.4 < right < 0.6
    turned = augment(images.mT, Augmentation(vertical_flip=True), torch.Generator().manual_seed(0))
    assert torch.equal(turned, flipped.mT)
    both = Augmentation(horizontal_flip=True, vertical_flip=True)
    corner = torch.zeros(400, 1, 16, 16, dtype=torch.uint8)
    corner[:, :, 0, 0] = 1
    found = augment(corner, both, torch.Generator().manual_seed(0)).sum(dim=(0, 1))
    corners = found[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert int(corners.sum()) == 400
    assert int(corners.min()) > 60
    same = augment(images, Augmentation(), torch.Generator())
    assert torch.equal(same, images)
    cropped = augment(images, Augmentation(crop_min_scale=0.5), torch.Generator().manual_seed(0))
    assert cropped.shape == images.shape
    assert cropped.min() >= 0
    assert cropped.max() < 200.01
    share = (cropped > 100).float().mean(dim=(1, 2, 3))
    assert share.std() > 0.02
    # A crop of side s = sqrt(0.5) at the right border shows the left half of the image on (s - 0.5) / s of it.
    assert share.min() > (0.5**0.5 - 0.5) / 0.5**0.5 - 1 / 16
    assert share.max() < 0.5 / 0.5**0.5 + 1 / 16
    again = augment(images, Augmentation(crop_min_scale=0.5), torch.Generator().manual_seed(0))
    assert torch.equal(cropped, again)


def test_rotation_turns_images_about_their_centre_by_up_to_the_angle():
    size = 65
    down, across = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    spot = ((across - 52) ** 2 + (down - 32) ** 2 <= 4).to(torch.uint8) * 200  # 20 px right of the centre
    options = Augmentation(rotation_degrees=30)
    turned = augment(spot.expand(300, 1, size, size), options, torch.Generator().manual_seed(0))
    mass = turned.sum(dim=(1, 2, 3))
    x, y = ((turned * place).sum(dim=(1, 2, 3)) / mass - 32 for place in (across, down))
    assert torch.allclose(torch.hypot(x, y), torch.full((300,), 20.0), atol=0.1)
    degrees = torch.rad2deg(torch.atan2(y, x))
    assert 28 < float(degrees.max()) < 30.3
    assert -30.3 < float(degrees.min()) < -28
    assert abs(float(degrees.mean())) < 3


def test_contrast_and_brightness_stretch_about_the_mean_and_shift():
    image = torch.full((1, 8, 8), 120, dtype=torch.uint8)
    image[:, :4] = 80  # mean 100
    many = image.expand(500, 1, 8, 8)
    assert vary_grey(many, Augmentation(horizontal_flip=True), torch.Generator()) is many
    stretched = vary_grey(many, Augmentation(contrast=0.25), torch.Generator().manual_seed(0))
    spread = stretched[:, 0, 7, 0] - stretched[:, 0, 0, 0]
    assert torch.allclose(stretched.mean(dim=(1, 2, 3)), torch.full((500,), 100.0))
    assert 30 <= float(spread.min()) < 31 < 49 < float(spread.max()) <= 50
    shifted = vary_grey(many, Augmentation(brightness=0.1), torch.Generator().manual_seed(0)) - many
    assert torch.allclose(shifted, shifted[:, :, :1, :1].expand_as(shifted), atol=1e-4)
    assert -25.5 <= float(shifted.min()) < -25 < 25 < float(shifted.max()) <= 25.5
    both = vary_grey(many, Augmentation(contrast=0.9, brightness=0.9), torch.Generator().manual_seed(0))
    assert float(both.min()) == 0
    assert float(both.max()) == 255


@pytest.mark.parametrize("architecture", ["resnet18", "vgg16", "densenet121", "efficientnet_b0", "convnext_tiny"])
def test_grad_cam_weights_sum_to_the_hand_computed_map(architecture):
    torch.manual_seed(0)
    model = build_classifier(spec(architecture)).eval().requires_grad_(False)
    images = torch.randn(2, 1, 64, 64)
    layer = last_feature_map(model, images)
    logits, maps = scores_with_cams(model, layer, images)
    torch.testing.assert_close(logits, model(images))
    assert maps.shape[:2] == (2, 1)
    assert maps.shape[2] > 1
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_grad_cam_of_a_linear_network_is_the_class_weighted_map():
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(1, 4, 3, padding=1)
    tail = torch.nn.Conv2d(4, 4, 1)
    head = torch.nn.Linear(4, 1)
    model = torch.nn.Sequential(
        convolution, tail, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), head
    ).requires_grad_(False)
    images = torch.randn(3, 1, 8, 8)
    assert last_feature_map(model, images) is tail
    _, maps = scores_with_cams(model, tail, images)
    # Zhou et al. 2016: with global average pooling and one linear layer, Grad-CAM is CAM up to its scale.
    expected = torch.relu(torch.einsum("c,bchw->bhw", head.weight[0], tail(convolution(images))))
    expected = expected / expected.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(maps[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_grad_cam_of_a_curved_network_is_the_map_that_is_worked_out_by_hand():
    """Two feature maps, A the image and B one everywhere, and a score that is 3 mean(A)^2 - 2 mean(B).

    On 16 pixels with a mean of 1, the gradients are 6 * 1 / 16 on each pixel of A and -2 / 16 on each of B, so the
    weights (their means) are 3/8 and -1/8, and the map is relu(3/8 A - 1/8): 2.875 where A is 8.
    """

    class Score(torch.nn.Module):
        def forward(self, maps):
            means = maps.mean(dim=(2, 3))
            return 3 * means[:, :1] ** 2 - 2 * means[:, 1:]

    first = torch.nn.Conv2d(1, 1, 1, bias=False)
    maps = torch.nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        first.weight.fill_(1.0)
        maps.weight.copy_(torch.tensor([1.0, 0.0]).view(2, 1, 1, 1))
        maps.bias.copy_(torch.tensor([0.0, 1.0]))
    image = torch.tensor([[8.0, 4.0, -4.0, 2.0], [1, 1, 1, 1], [0, 0, 2, 0], [0, 0, 0, 0]]).view(1, 1, 4, 4)
    assert image.mean() == 1
    model = torch.nn.Sequential(first, maps, Score()).requires_grad_(False)
    assert last_feature_map(model, image) is maps
    logits, found = scores_with_cams(model, maps, image)
    assert logits.item() == 3 * 1 - 2 * 1
    expected = torch.tensor([[2.875, 1.375, 0.0, 0.625], [0.25] * 4, [0, 0, 0.625, 0], [0, 0, 0, 0]]) / 2.875
    torch.testing.assert_close(found[0, 0], expected)


def test_each_outputs_map_is_the_one_it_has_alone():
    torch.manual_seed(0)
    three = ClassifierSpec("resnet18", 1, 64, (0.5,), (0.25,), ("a", "b", "c"))
    model = build_classifier(three).eval().requires_grad_(False)
    images = torch.randn(2, 1, 64, 64)
    layer = last_feature_map(model, images)
    logits, maps = scores_with_cams(model, layer, images, (0, 1, 2))
    assert logits.shape == (2, 3)
    assert maps.shape[:2] == (2, 3)
    for output in range(3):
        assert torch.equal(maps[:, output], scores_with_cams(model, layer, images, (output,))[1][:, 0])
    assert not torch.equal(maps[:, 0], maps[:, 1])


@pytest.mark.parametrize(("size", "side"), [(64, 4), (96, 6), (224, 7)])
def test_grad_cam_of_swin_is_of_the_last_stage_that_is_large_enough(size, side):
    """Its stages keep channels last; the map weighs channels, not columns, by the mean of their gradients."""
    torch.manual_seed(0)
    model = build_classifier(spec("swin_t", size=size)).eval().requires_grad_(False)
    images = torch.randn(1, 1, size, size)
    layer = last_feature_map(model, images)
    assert layer is (model.permute if size == 224 else model.features[5])
    kept = []
    handle = layer.register_forward_hook(lambda _, __, output: kept.append(output.requires_grad_()) or output.clone())
    (gradient,) = torch.autograd.grad(model(images).sum(), kept)
    handle.remove()
    letters = "bchw" if size == 224 else "bhwc"
    expected = torch.einsum(f"bc,{letters}->bhw", torch.einsum(f"{letters}->bc", gradient), kept[0]).relu()
    _, maps = scores_with_cams(model, layer, images)
    assert maps.shape == (1, 1, side, side)
    torch.testing.assert_close(maps[:, 0], expected / expected.max(), rtol=1e-3, atol=1e-4)


def test_positions_of_a_vision_transformer_are_interpolated_to_another_size(tmp_path):
    torch.manual_seed(0)
    small, large = spec("vit_b_16", 3, size=64), spec("vit_b_16", 3, size=96)
    original = get_model("vit_b_16", image_size=64)
    with torch.no_grad():
        original.encoder.pos_embedding.normal_()
    weights = original.state_dict()
    same, other = build_classifier(small, weights), build_classifier(large, weights)
    positions = weights["encoder.pos_embedding"]
    assert torch.equal(same.encoder.pos_embedding, positions)
    grid = positions[:, 1:].view(4, 4, 768).permute(2, 0, 1)
    expected = torch.nn.functional.interpolate(grid[None], size=6, mode="bicubic", align_corners=True)
    torch.testing.assert_close(other.encoder.pos_embedding[:, 1:], expected.flatten(2).mT)
    assert torch.equal(other.encoder.pos_embedding[:, :1], positions[:, :1])
    assert torch.equal(other.conv_proj.weight, weights["conv_proj.weight"])
    save_classifier(tmp_path / "model.pt", large, other)
    _, again = load_classifier(tmp_path / "model.pt", torch.device("cpu"))
    assert torch.equal(again.encoder.pos_embedding, other.encoder.pos_embedding)


@pytest.mark.parametrize(("architecture", "size"), [("vit_b_16", 70), ("maxvit_t", 96)])
def test_a_size_that_a_network_cannot_take_is_one_line(architecture, size):
    with pytest.raises(InputError, match=rf"model {architecture}: .* images of {size} px that it can take"):
        build_classifier(spec(architecture, 3, size=size))


def test_a_vision_transformer_has_scores_and_no_map():
    model = build_classifier(spec("vit_b_16", 3)).eval().requires_grad_(False)
    images = torch.zeros(1, 3, 64, 64)
    assert last_feature_map(model, images) is None
    logits, maps = scores_with_cams(model, None, images)
    assert logits.shape == (1, 1)
    assert maps is None


def test_gather_takes_the_rows_of_the_subset(training_files):
    from scanline.prepare.samples import load_samples

    samples = load_samples(**training_files, target="bleed")["val"]
    images, truth = gather(samples, torch.tensor([0, 11]), torch.device("cpu"))
    pixels = np.load(training_files["pixels"])
    assert np.array_equal(images[:, 0].numpy(), pixels[[36, 47]])
    assert truth.shape == (2, 1)
    assert np.array_equal(truth.numpy(), samples.truth[[0, 11]])
