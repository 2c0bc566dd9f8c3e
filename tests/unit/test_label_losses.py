"""Losses of image-level tasks against PyTorch, torchvision and the published formulas."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from torch.nn import functional

import scanline.core.torchvision_compat  # noqa: F401  (has to come before torchvision)
from scanline.train.label_losses import LossShape, Targets, as_targets, mix_targets, sigmoid_loss, softmax_loss
from scanline.train.label_metrics import auroc, measure_val

from torchvision.ops import sigmoid_focal_loss  # isort: skip

ONES = torch.ones(3)


def draw(seed=0, count=11, classes=3, unknown=0.3):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, classes, generator=generator)
    truth = (torch.rand(count, classes, generator=generator) < 0.4).float()
    truth[torch.rand(count, classes, generator=generator) < unknown] = float("nan")
    return logits, truth


def one_hot(seed=0, count=11, classes=3):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(classes, (count,), generator=generator)
    return 3 * torch.randn(count, classes, generator=generator), codes, functional.one_hot(codes, classes).float()


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
def test_focal_is_torchvisions(gamma):
    logits, truth = draw(unknown=0.0)
    ours = sigmoid_loss(logits, as_targets(truth), ONES, LossShape("focal", focal_gamma=gamma))
    theirs = sigmoid_focal_loss(logits, truth, alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(ours, theirs)


def asymmetric_by_hand(logit, positive, shape):
    probability = 1 / (1 + math.exp(-logit))
    if positive:
        return -((1 - probability) ** shape.positive_gamma) * math.log(probability)
    lowered = max(probability - shape.margin, 0)
    return -(lowered**shape.negative_gamma) * math.log(1 - lowered)


@pytest.mark.parametrize(
    "shape", [LossShape("asymmetric"), LossShape("asymmetric", positive_gamma=1.0, negative_gamma=2.0, margin=0.2)]
)
def test_asymmetric_is_the_papers_formula_over_known_entries(shape):
    logits, truth = draw()
    terms = [
        asymmetric_by_hand(float(logits[place]), bool(truth[place] == 1), shape)
        for place in zip(*np.nonzero(~np.isnan(truth.numpy())), strict=True)
    ]
    ours = sigmoid_loss(logits, as_targets(truth), ONES, shape)
    assert float(ours) == pytest.approx(np.mean(terms), rel=1e-5)


def test_asymmetric_without_gammas_and_margin_is_cross_entropy():
    logits, truth = draw()
    plain = LossShape("asymmetric", positive_gamma=0, negative_gamma=0, margin=0)
    ours, known = sigmoid_loss(logits, as_targets(truth), ONES, plain), ~truth.isnan()
    torch.testing.assert_close(ours, functional.binary_cross_entropy_with_logits(logits[known], truth[known]))


def test_an_easy_negative_below_the_margin_costs_nothing():
    logits = torch.tensor([[math.log(0.04 / 0.96)]], requires_grad=True)
    loss = sigmoid_loss(logits, Targets(torch.zeros(1, 1), torch.ones(1, 1)), ONES[:1], LossShape("asymmetric"))
    loss.backward()
    assert float(loss) == 0
    assert float(logits.grad) == 0


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "asymmetric"])
def test_unknown_entries_have_no_gradient_whatever_the_loss(name):
    logits, truth = draw()
    logits.requires_grad_()
    sigmoid_loss(logits, as_targets(truth), torch.tensor([0.5, 1.0, 4.0]), LossShape(name, smoothing=0.1)).backward()
    assert torch.equal(logits.grad[truth.isnan()], torch.zeros(int(truth.isnan().sum())))
    assert (logits.grad[truth == 1] != 0).all()


def test_smoothing_moves_targets_towards_one_half_and_towards_all_classes():
    logits, truth = draw(unknown=0.0)
    ours = sigmoid_loss(logits, as_targets(truth), ONES, LossShape(smoothing=0.2))
    expected = functional.binary_cross_entropy_with_logits(logits, truth * 0.8 + 0.1)
    torch.testing.assert_close(ours, expected)
    logits, codes, hot = one_hot()
    weight = torch.tensor([0.5, 1.0, 4.0])
    ours = softmax_loss(logits, as_targets(hot), weight, LossShape(smoothing=0.2))
    torch.testing.assert_close(ours, functional.cross_entropy(logits, codes, weight=weight, label_smoothing=0.2))


def test_focal_of_classes_is_the_formula_and_with_exponent_zero_cross_entropy():
    logits, codes, hot = one_hot()
    probability = logits.softmax(dim=1)[torch.arange(len(codes)), codes]
    expected = (-((1 - probability) ** 2) * probability.log()).mean()
    torch.testing.assert_close(softmax_loss(logits, as_targets(hot), ONES, LossShape("focal")), expected)
    plain = softmax_loss(logits, as_targets(hot), ONES, LossShape("focal", focal_gamma=0))
    torch.testing.assert_close(plain, functional.cross_entropy(logits, codes))


LOGITS = (-90.0, -20.0, -3.0, -1.0, 0.0, 2.0, 20.0, 90.0)
GAMMAS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("name", ["focal", "asymmetric"])
@pytest.mark.parametrize("margin", [0.0, 0.05])
@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_losses_of_saturated_networks_have_the_gradient_of_the_formula(name, gamma, margin, truth):
    """By mpmath's numbers of 60 digits: in float32, 1 - probability is 0 from a logit of 17 on."""
    shape = LossShape(name, focal_gamma=gamma, positive_gamma=gamma, negative_gamma=gamma, margin=margin)
    logits = torch.tensor(LOGITS).view(-1, 1).requires_grad_()
    targets = Targets(torch.full_like(logits, truth), torch.ones_like(logits))
    loss = sigmoid_loss(logits, targets, ONES[:1], shape)
    loss.backward()

    def cost(logit):
        probability = 1 / (1 + mpmath.exp(-logit))
        if truth == 1:
            return -((1 - probability) ** gamma) * mpmath.log(probability)
        lowered = max(probability - (margin if name == "asymmetric" else 0), mpmath.mpf(0))
        return -(lowered**gamma) * mpmath.log(1 - lowered)

    with mpmath.workdps(60):
        slopes = [float(mpmath.diff(cost, mpmath.mpf(logit), h=mpmath.mpf(10) ** -20)) for logit in LOGITS]
    found = (logits.grad[:, 0] * len(LOGITS)).tolist()
    saturated = [name == "asymmetric" and truth == 0 and margin == 0 and logit > 17 for logit in LOGITS]
    assert all(math.isfinite(value) for value in found)
    for value, expected, skipped in zip(found, slopes, saturated, strict=True):
        assert skipped or value == pytest.approx(expected, rel=1e-4, abs=2e-7)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_focal_of_saturated_classes_has_the_gradient_of_the_formula(gamma):
    logits = torch.tensor([[first, 0.0, -1.0] for first in LOGITS]).requires_grad_()
    truth = torch.tensor([[1.0, 0.0, 0.0]]).expand(len(LOGITS), 3)
    softmax_loss(logits, as_targets(truth), ONES, LossShape("focal", focal_gamma=gamma)).backward()

    def cost(first):
        probability = mpmath.exp(first) / (mpmath.exp(first) + 1 + mpmath.exp(-1))
        return -((1 - probability) ** gamma) * mpmath.log(probability)

    with mpmath.workdps(60):
        slopes = [float(mpmath.diff(cost, mpmath.mpf(logit), h=mpmath.mpf(10) ** -20)) for logit in LOGITS]
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, 0] * len(LOGITS)).tolist() == pytest.approx(slopes, rel=1e-4, abs=2e-7)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "asymmetric"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_mixed_batch_costs_the_shares_of_both_whatever_is_unknown(name, seed):
    """The loss of mixed targets is that of the image's own truth by its share, plus the partner's by the rest."""
    logits, truth = draw(seed, unknown=0.4)
    truth[:, 0] = truth[:, 0].nan_to_num()
    generator = torch.Generator().manual_seed(seed)
    partner, share = torch.randperm(len(truth), generator=generator), torch.rand(len(truth), generator=generator)
    shape, weight = LossShape(name), torch.tensor([0.5, 1.0, 4.0])
    mixed = sigmoid_loss(logits, mix_targets(as_targets(truth), partner, share), weight, shape)
    total, known = 0.0, 0.0
    for row in range(len(truth)):
        for source, part in ((row, float(share[row])), (int(partner[row]), 1 - float(share[row]))):
            for column in range(3):
                if not truth[source, column].isnan():
                    entry = Targets(truth[source, column].view(1, 1), torch.ones(1, 1))
                    total += part * float(
                        sigmoid_loss(logits[row, column].view(1, 1), entry, weight[column : column + 1], shape)
                    )
                    known += part
    assert float(mixed) == pytest.approx(total / known, rel=1e-4)


def test_of_mixed_classes_the_loss_is_pytorchs_with_probabilities():
    logits, _, hot = one_hot()
    partner, share = torch.arange(10, -1, -1), torch.linspace(0, 1, 11)
    mixed = mix_targets(as_targets(hot), partner, share)
    expected = functional.cross_entropy(logits, share[:, None] * hot + (1 - share[:, None]) * hot[partner])
    torch.testing.assert_close(softmax_loss(logits, mixed, ONES, LossShape()), expected)
    assert torch.equal(mixed.weight, torch.ones_like(hot))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_auroc_is_scikit_learns_with_ties(rows):
    truth, score = np.array([row[0] for row in rows]), np.array([row[1] / 5 for row in rows])
    if truth.all() or not truth.any():
        return
    assert auroc(truth, score) == pytest.approx(roc_auc_score(truth, score))


def test_what_stopping_goes_by_is_scikit_learns_mean_over_known_labels():
    rng = np.random.default_rng(0)
    truth = (rng.random((60, 3)) < 0.4).astype(np.float32)
    truth[rng.random((60, 3)) < 0.2] = np.nan
    probability = rng.random((60, 3))
    rows = [~np.isnan(truth[:, column]) for column in range(3)]
    references = {
        "auroc": lambda t, p: roc_auc_score(t, p),
        "f1": lambda t, p: f1_score(t, p >= 0.5),
        "accuracy": lambda t, p: accuracy_score(t, p >= 0.5),
    }
    for name, reference in references.items():
        values = [reference(truth[known, column] == 1, probability[known, column]) for column, known in enumerate(rows)]
        assert measure_val(name, truth, probability, exclusive=False) == pytest.approx(np.mean(values))


def test_of_classes_that_exclude_another_the_most_probable_is_called():
    rng = np.random.default_rng(1)
    codes = np.concatenate([np.arange(3), rng.integers(0, 3, 50)])
    truth = (codes[:, None] == np.arange(3)).astype(np.float32)
    probability = rng.dirichlet(np.ones(3), len(codes))
    called = probability.argmax(axis=1)
    assert measure_val("accuracy", truth, probability, exclusive=True) == pytest.approx(accuracy_score(codes, called))
    expected = f1_score(codes, called, average="macro")
    assert measure_val("f1", truth, probability, exclusive=True) == pytest.approx(expected)
    expected = roc_auc_score(codes, probability, multi_class="ovr")
    assert measure_val("auroc", truth, probability, exclusive=True) == pytest.approx(expected)
