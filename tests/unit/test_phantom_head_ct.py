"""The procedural head: Hounsfield units, windows, and the shapes of haemorrhages."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanline.acquire.phantoms.haemorrhage import (
    EPIDURAL,
    INTRAPARENCHYMAL,
    INTRAVENTRICULAR,
    KINDS,
    SUBARACHNOID,
    SUBDURAL,
    Surroundings,
    draw_haemorrhage,
    draw_kind,
)
from scanline.acquire.phantoms.head_ct import BASE_MM, draw_head, draw_slice, skull_depth
from scanline.acquire.phantoms.shapes import Grid, blur, capsule, draw_waves
from scanline.core.images import Window, windowed

few = settings(max_examples=25, deadline=None, derandomize=True)  # the shapes are statements about drawn heads
seeds = st.integers(0, 2**32 - 1)
SIZE = 128


def head_with(seed, *kinds):
    rng = np.random.default_rng(seed)
    return draw_head(rng, tuple(draw_kind(rng, kind) for kind in kinds))


def mid_slice(head, size=SIZE):
    return draw_slice(head, head.haemorrhages[0].centre_mm[2], size)


def depth_of(head, z_mm, size=SIZE):
    grid = Grid.of(size, head.field_of_view_mm, head.rotation_rad, head.shift_mm, z_mm)
    return skull_depth(head, grid)


def eroded(mask):
    inner = mask.copy()
    for axis in (0, 1):
        inner &= np.roll(mask, 1, axis) & np.roll(mask, -1, axis)
    return inner


def grown(mask):
    outer = mask.copy()
    for axis in (0, 1):
        outer |= np.roll(mask, 1, axis) | np.roll(mask, -1, axis)
    return outer


def middle_of_tips(mask):
    """The pixel halfway between the two pixels of a mask that are farthest apart."""
    points = np.argwhere(mask & ~eroded(mask))
    apart = ((points[:, None] - points[None]) ** 2).sum(-1)
    first, second = np.unravel_index(apart.argmax(), apart.shape)
    row, column = (points[first] + points[second]) // 2
    return row, column


def solidity(mask):
    """Share of the pairs of a mask's pixels whose middle is in the mask: 1 where it is convex."""
    points = np.argwhere(mask)
    pairs = np.random.default_rng(0).integers(len(points), size=(4000, 2))
    middles = (points[pairs[:, 0]] + points[pairs[:, 1]]) // 2
    return mask[middles[:, 0], middles[:, 1]].mean()


@pytest.mark.parametrize(("hu", "grey"), [(-1000, 0), (0, 0), (40, 128), (80, 255), (3000, 255), (8, 26), (16, 51)])
def test_window_is_exact(hu, grey):
    assert windowed(np.array([hu], np.float32), Window())[0] == grey  # 127.5 rounds to the even 128


@given(st.floats(-1e4, 1e4), st.floats(-500, 500), st.floats(1, 4000))
def test_window_follows_the_formula(hu, center, width):
    grey = windowed(np.array([hu]), Window(center, width))[0]
    assert abs(grey - 255 * min(max((hu - center) / width + 0.5, 0), 1)) < 0.5 + 1e-6


def test_window_edges_and_type():
    edges = windowed(np.array([[-160.0, 240.0]]), Window(40, 400))
    assert edges.dtype == np.uint8
    assert edges.tolist() == [[0, 255]]


def test_tissues_have_their_hounsfield_units():
    head = replace(head_with(3), noise_hu=0.0, shade_hu=0.0, calcifications=())
    hu = draw_slice(head, 40.0, 256).hu
    depth = depth_of(head, 40.0, 256)
    assert np.median(hu[depth > 22]) == pytest.approx(28, abs=4)
    assert 700 < hu[(depth < -1) & (depth > 1 - head.skull_mm)].mean() <= 1000
    assert np.median(hu[depth < -30]) == -1000
    assert hu.min() >= -1024
    assert hu.max() <= 1001
    csf = draw_slice(head, 12.0, 256).hu
    assert (np.abs(csf[depth_of(head, 12.0, 256) > 15] - 5) < 3).mean() > 0.02


def test_slices_stack_from_base_to_vertex():
    head = head_with(5)
    areas = [draw_slice(head, z, SIZE).brain.mean() for z in np.linspace(0, head.top_mm, 8)]
    assert areas == sorted(areas, reverse=True)
    assert areas[-1] > 0.005
    assert not draw_slice(head, head.axes_mm[2] + 1, SIZE).brain.any()


@few
@given(seeds)
def test_a_slice_is_a_function_of_head_level_and_size(seed):
    first, second = (draw_slice(head_with(seed, INTRAPARENCHYMAL), 8.0, 48) for _ in range(2))
    assert first.hu.dtype == np.float32
    assert first.hu.shape == first.oedema.shape == (48, 48)
    assert first.hu.tobytes() == second.hu.tobytes()
    other = draw_slice(head_with(seed + 1, INTRAPARENCHYMAL), 8.0, 48)
    assert first.hu.tobytes() != other.hu.tobytes()


@few
@given(seeds, st.sampled_from(KINDS), st.floats(BASE_MM, 70))
def test_bleeds_and_oedema_are_inside_the_brain_and_disjoint(seed, kind, z_mm):
    drawn = draw_slice(head_with(seed, kind), z_mm, SIZE)
    for mask in drawn.lesions.values():
        assert mask.any()
        assert not (mask & ~drawn.brain).any()
        assert not (mask & drawn.oedema).any()
    assert not (drawn.oedema & ~drawn.brain).any()
    if kind != INTRAPARENCHYMAL:
        assert not drawn.oedema.any()


@few
@given(seeds, st.sampled_from(KINDS))
def test_blood_is_55_to_75_hu(seed, kind):
    head = replace(head_with(seed, kind), noise_hu=0.0, calcifications=())
    drawn = mid_slice(head)
    inner = eroded(drawn.lesions.get(kind, np.zeros_like(drawn.brain)))
    inner = eroded(eroded(inner))
    if inner.any():
        assert 54.9 <= drawn.hu[inner].min() <= drawn.hu[inner].max() <= 75.1


@few
@given(seeds)
def test_intraparenchymal_bleed_is_round_with_an_oedema_rim_that_touches_it(seed):
    head = replace(head_with(seed, INTRAPARENCHYMAL), noise_hu=0.0, calcifications=())
    drawn = mid_slice(head, 256)
    bleed = drawn.lesions[INTRAPARENCHYMAL]
    assert solidity(bleed) > 0.93
    assert drawn.oedema.any()
    rim = grown(bleed) & ~bleed
    assert (rim & drawn.oedema).sum() > 0.25 * rim.sum()
    inner = eroded(eroded(drawn.oedema))
    if inner.any():
        assert drawn.hu[inner].max() < 28


@few
@given(seeds)
def test_epidural_bleed_is_a_lens_on_the_skull(seed):
    head = head_with(seed, EPIDURAL)
    lens = mid_slice(head, 256).lesions[EPIDURAL]
    depth = depth_of(head, head.haemorrhages[0].centre_mm[2], 256)[lens]
    assert solidity(lens) > 0.93
    assert grown(lens)[middle_of_tips(lens)]
    assert depth.min() < 3
    length = np.ptp(np.argwhere(lens), axis=0).max() * head.field_of_view_mm / 256
    assert length > 1.2 * depth.max()


@few
@given(seeds)
def test_subdural_bleed_is_a_crescent_along_the_skull(seed):
    head = head_with(seed, SUBDURAL)
    crescent = mid_slice(head).lesions[SUBDURAL]
    depth = depth_of(head, head.haemorrhages[0].centre_mm[2])[crescent]
    assert solidity(crescent) < 0.93
    assert not grown(crescent)[middle_of_tips(crescent)]
    assert depth.max() <= head.haemorrhages[0].axes_mm[1]
    length = np.ptp(np.argwhere(crescent), axis=0).max() * head.field_of_view_mm / SIZE
    assert length > 4 * depth.max()


@few
@given(seeds, st.floats(-20, 40))
def test_subarachnoid_and_ventricular_blood_stay_in_csf(seed, z_mm):
    rng = np.random.default_rng(seed)
    grid = Grid.of(SIZE, 240.0, 0.0, (0.0, 0.0), z_mm)
    ventricles, csf = (draw_waves(rng, 9, 30.0, 60.0).at(grid) > 0.5 for _ in range(2))
    everything = np.ones_like(csf)
    around = Surroundings(everything, grid.x, ventricles, csf, ~everything, np.array([66.0, 84.0, 74.0]))
    for kind, filled in ((SUBARACHNOID, csf), (INTRAVENTRICULAR, ventricles)):
        blood, oedema = draw_haemorrhage(draw_kind(rng, kind), grid, around)
        assert not (blood & ~filled).any()
        assert not oedema.any()


def test_subarachnoid_blood_is_sulcal_and_ventricular_blood_is_central():
    drawn = [mid_slice(head_with(seed, SUBARACHNOID)).lesions[SUBARACHNOID] for seed in range(20)]
    assert np.mean([eroded(mask).sum() / mask.sum() for mask in drawn]) < 0.15  # thin: erosion leaves little
    for seed in range(20):
        head = head_with(seed, INTRAVENTRICULAR)
        mask = mid_slice(head).lesions[INTRAVENTRICULAR]
        assert depth_of(head, head.haemorrhages[0].centre_mm[2])[mask].min() > 3


def test_shapes():
    grid = Grid.of(64, 64.0, 0.3, (2.0, -3.0), 1.0)
    ball = capsule(grid, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 10.0)
    assert ball.sum() == pytest.approx(np.pi * 99, rel=0.05)
    assert not capsule(grid, (0.0, 0.0, 20.0), (5.0, 0.0, 20.0), 10.0).any()
    assert blur(np.ones((5, 7), np.float32), 0.2) == pytest.approx(1)


@few
@given(seeds, st.floats(-3, 3), st.floats(-50, 50))
def test_waves_equal_their_sum_of_cosines(seed, rotation, z_mm):
    waves = draw_waves(np.random.default_rng(seed), 7, 10.0, 30.0)
    grid = Grid.of(9, 200.0, rotation, (3.0, -4.0), z_mm)
    points = np.stack([grid.x, grid.y, np.full_like(grid.x, z_mm)], -1).astype(float)
    direct = np.cos(points @ waves.vectors.T + waves.phases).sum(-1) * np.sqrt(2 / 7)
    assert waves.at(grid) == pytest.approx(direct, abs=1e-3)


def test_drawing_is_fast():
    head = head_with(1, INTRAPARENCHYMAL)
    start = time.process_time()
    for z_mm in np.linspace(BASE_MM, head.top_mm, 24):
        draw_slice(head, z_mm, 128)
    assert (time.process_time() - start) / 24 < 0.05  # seconds a slice; about 0.005 on one idle core
