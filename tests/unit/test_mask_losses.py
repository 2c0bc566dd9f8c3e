import numpy as np
import pytest
import torch
from torch.nn import functional

import scanline.core.torchvision_compat  # noqa: F401
from scanline.train.batches import augment
from scanline.train.mask_losses import mask_loss, mask_loss_sums
from scanline.train.options import Augmentation
from scanline.train.segmentation import augment_pair, draw_order

from segmentation_models_pytorch.losses import DiceLoss, FocalLoss, TverskyLoss  # isort: skip

REFERENCE = {
    "bce_dice": lambda logits, truth: (
        functional.binary_cross_entropy_with_logits(logits, truth) + DiceLoss("binary")(logits, truth)
    ),
    "focal": FocalLoss("binary", alpha=0.25, gamma=2.0),
    "tversky": TverskyLoss("binary", alpha=0.3, beta=0.7),
}


def batch(seed, share=0.2, size=(3, 1, 8, 8)):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(size, generator=generator)
    return logits, (torch.rand(size, generator=generator) < share).float()


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize(("seed", "share"), [(0, 0.2), (1, 0.7), (2, 1.0), (3, 0.0)])
def test_losses_and_gradients_are_those_of_segmentation_models_pytorch(name, seed, share):
    logits, truth = batch(seed, share)
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value, expected = mask_loss(name, mask_loss_sums(name, ours, truth)), REFERENCE[name](theirs, truth)
    assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-6)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", REFERENCE)
def test_sums_of_batches_give_the_loss_of_them_all(name):
    logits, truth = batch(5, size=(7, 1, 6, 6))
    truth[:4] = 0  # whole batches without lesion
    parts = [mask_loss_sums(name, logits[start : start + 2], truth[start : start + 2]) for start in range(0, 7, 2)]
    whole = mask_loss(name, mask_loss_sums(name, logits, truth))
    assert float(mask_loss(name, sum(parts))) == pytest.approx(float(whole), rel=1e-5)


def test_focal_and_tversky_by_hand():
    logits, truth = torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    p = 1 / (1 + np.exp(-2.0))
    focal = (0.25 * 0.5**2 * np.log(2) - 0.75 * p**2 * np.log(1 - p)) / 2
    assert float(mask_loss("focal", mask_loss_sums("focal", logits, truth))) == pytest.approx(focal, rel=1e-5)
    tversky = 1 - 0.5 / (0.5 + 0.3 * p + 0.7 * 0.5)
    assert float(mask_loss("tversky", mask_loss_sums("tversky", logits, truth))) == pytest.approx(tversky, rel=1e-5)


OPTIONS = Augmentation(horizontal_flip=True, vertical_flip=True, crop_min_scale=0.5)


def test_image_and_mask_change_alike_and_as_for_other_tasks():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 1, 33, 20), generator=generator).to(torch.uint8)
    changed, masks = augment_pair(images, (images > 128).float(), OPTIONS, torch.Generator().manual_seed(9))
    assert torch.equal(changed, augment(images, OPTIONS, torch.Generator().manual_seed(9)).float())
    assert not torch.equal(changed, images.float())
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    blocks = torch.kron(images[:, :, ::4, ::4].float(), torch.ones(6, 6))  # large areas of one grey value
    changed, masks = augment_pair(blocks.to(torch.uint8), (blocks > 128).float(), OPTIONS, generator)
    flat = (changed == changed.round()).float()  # inside an area, where no two grey values mix
    assert float(((changed > 128).float() == masks)[flat > 0].float().mean()) > 0.999


def test_the_mask_is_sampled_at_the_nearest_pixel():
    mask = (torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    numbers = torch.arange(256).view(1, 1, 16, 16).expand(8, 1, 16, 16)  # each pixel's own
    options = Augmentation(crop_min_scale=0.3, rotation_degrees=180)
    changed, nearest = augment_pair(mask.to(torch.uint8), mask, options, torch.Generator().manual_seed(2))
    _, which = augment_pair(mask.to(torch.uint8), numbers.float(), options, torch.Generator().manual_seed(2))
    assert torch.equal(nearest, mask.flatten(1).gather(1, which.flatten(1).long()).view_as(mask))
    across = (10 * torch.arange(16, dtype=torch.uint8)).expand(8, 1, 16, 16)  # its grey value tells the place
    for ramp in (across, across.mT):
        moved, places = augment_pair(ramp, ramp.float() / 10, options, torch.Generator().manual_seed(2))
        assert float((moved / 10 - places).abs().max()) <= 0.5001
    middle = (changed[:, 0] == 1) | (changed[:, 0] == 0)  # all four neighbours agree
    assert torch.equal(changed[:, 0][middle], nearest[:, 0][middle])


def test_grey_values_of_images_alone_are_varied():
    images = torch.randint(0, 256, (4, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    options = Augmentation(contrast=0.25, brightness=0.1)
    changed, masks = augment_pair(images, (images > 128).float(), options, torch.Generator().manual_seed(1))
    assert torch.equal(masks, (images > 128).float())
    assert not torch.equal(changed, images.float())


def test_flips_alone_keep_every_pixel():
    images = torch.arange(32, dtype=torch.uint8).view(2, 1, 4, 4)
    changed, masks = augment_pair(images, images.float(), Augmentation(horizontal_flip=True), torch.Generator())
    assert torch.equal(changed, masks)
    assert all(torch.equal(one, a) or torch.equal(one, a.flip(-1)) for one, a in zip(changed, images, strict=True))


def test_an_epoch_has_each_lesion_once_and_the_share_of_other_images_asked_for():
    truth = torch.zeros(100)
    truth[:8] = 1
    assert sorted(draw_order(truth, None, torch.Generator().manual_seed(0)).tolist()) == list(range(100))
    drawn = draw_order(truth, 0.4, torch.Generator().manual_seed(0))
    assert len(set(drawn.tolist())) == len(drawn) == 20
    assert sorted(drawn[truth[drawn] > 0].tolist()) == list(range(8))
    again = draw_order(truth, 0.4, torch.Generator().manual_seed(1))
    assert set(drawn.tolist()) != set(again.tolist())  # other images without lesion
    many = torch.zeros(1000)
    many[:200] = 1
    halves = many[draw_order(many, 0.5, torch.Generator().manual_seed(0))].split(100)
    assert all(20 < int(half.sum()) < 80 for half in halves)  # shuffled
    assert sorted(draw_order(truth, 0.01, torch.Generator().manual_seed(0)).tolist()) == list(range(100))
    assert sorted(draw_order(torch.ones(5), 0.5, torch.Generator().manual_seed(0)).tolist()) == list(range(5))
