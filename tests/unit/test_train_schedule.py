"""Learning rates a step, the plateau, and the moving average, worked out by hand or by PyTorch."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from scanline.train.schedule import MovingAverage, cosine_factor, plateau_factor, warm_up


def test_warm_up_and_cosine_by_hand_at_each_step():
    """Two steps of warm-up, four of cosine."""
    expected = [1 / 3, 2 / 3, *(0.5 * (1 + math.cos(math.pi * done / 4)) for done in range(4))]
    assert [cosine_factor(step, 2, 6) for step in range(6)] == pytest.approx(expected)
    assert [round(value, 6) for value in expected[2:]] == [1, 0.853553, 0.5, 0.146447]
    assert [warm_up(step, 2) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert cosine_factor(0, 0, 6) == 1
    assert warm_up(0, 0) == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=25), st.integers(0, 4), st.sampled_from([0.1, 0.5]))
def test_a_plateau_lowers_the_rate_as_pytorchs_schedule_does(values, patience, factor):
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, threshold=0, eps=0
    )
    for done, value in enumerate(values, start=1):
        schedule.step(value)
        assert plateau_factor(values[:done], factor, patience) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert plateau_factor([], factor, patience) == 1


def test_the_average_is_the_formula_over_weights_and_statistics():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = MovingAverage(model, 0.5)
    weights, means = [model[0].weight.detach().clone()], [model[1].running_mean.clone()]
    for step in range(1, 13):
        with torch.no_grad():
            model[0].weight.copy_(torch.full((2, 2), float(step)))
            model[1].running_mean.copy_(torch.full((2,), 10.0 * step))
            model[1].num_batches_tracked.fill_(step)
        average.update(model)
        weights.append(model[0].weight.detach().clone())
        means.append(model[1].running_mean.clone())
    expected, mean = weights[0], means[0]
    for step in range(1, 13):
        decay = min(0.5, step / (step + 9))
        expected = decay * expected + (1 - decay) * weights[step]
        mean = decay * mean + (1 - decay) * means[step]
    torch.testing.assert_close(average.model[0].weight.detach(), expected)
    torch.testing.assert_close(average.model[1].running_mean, mean)
    assert int(average.model[1].num_batches_tracked) == 12
    assert not average.model.training
    assert all(not parameter.requires_grad for parameter in average.model.parameters())
    decays = [min(0.5, step / (step + 9)) for step in (1, 9, 12)]
    assert decays == pytest.approx([0.1, 0.5, 0.5])


def test_an_average_goes_on_from_its_state():
    model = nn.Linear(2, 2)
    one, other = MovingAverage(model, 0.9), MovingAverage(model, 0.9)
    for _, parameter in itertools.product(range(3), model.parameters()):
        parameter.data += 1
        one.update(model)
    other.load(one.state())
    for parameter in model.parameters():
        parameter.data *= 2
    one.update(model)
    other.update(model)
    assert other.steps == one.steps == 7
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))
