"""Nominal 95% intervals hold the true value in 95% of simulations where patients are drawn, and not where images are.

Each simulation draws 100 patients with 6 images, of whose error a patient shares half. The true accuracy is
Phi(separation / 2) and the true AUROC, of images of different patients, Phi(separation / sqrt 2). With 800
simulations a share has a standard error of 0.008. A percentile bootstrap of 100 patients holds 0.94 (3,000
simulations): the band is three standard errors below that and above 0.95.
"""

import numpy as np
import pytest
from scipy.stats import norm
from simulated_patients import Mean, draw_patients

from scanline.evaluate.bootstrap import estimate
from scanline.evaluate.delong import delong_auroc, delong_test
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.ranking import Ranking

SIMULATIONS, PATIENTS, IMAGES_EACH, SHARED, SEPARATION = 800, 100, 6, 0.5, 1.2
TRUE = {"accuracy": norm.cdf(SEPARATION / 2), "auroc": norm.cdf(SEPARATION / np.sqrt(2))}
HOLDS = (0.915, 0.973)
FAR_BELOW = 0.85


class AccuracyAndAuroc:
    """The two metrics and nothing else: a `bootstrap.Statistic`."""

    def __init__(self, truth, score, clusters):
        self._accuracy = Mean((truth == (score > 0)).astype(float), clusters)
        self._ranking = Ranking(truth, score, clusters)

    def __call__(self, weights):
        return {"accuracy": self._accuracy(weights)["mean"], "auroc": self._ranking.areas(weights)[0]}


def bootstrapped(truth, score, patient, method):
    """Limits of accuracy and AUROC."""
    options = EvaluateOptions(bootstrap_resamples=400, interval_method=method)
    estimates = estimate(AccuracyAndAuroc(truth, score, patient), int(patient.max()) + 1, options)
    return {name: (estimates[name].low, estimates[name].high) for name in TRUE}


def from_variance(truth, score, patient, interval):
    """Limits of the AUROC."""
    auroc = delong_auroc(truth, score, patient, interval=interval)
    return {"auroc": (auroc.low, auroc.high)}


@pytest.fixture(scope="module")
def coverage():
    """Share of the simulations in which an interval holds the true value, by method and metric."""
    generator = np.random.default_rng(20)
    held = {}
    for _ in range(SIMULATIONS):
        truth, score, patient = draw_patients(generator, PATIENTS, IMAGES_EACH, SHARED, SEPARATION)
        images = np.arange(len(truth))
        intervals = {
            "patients, percentile": bootstrapped(truth, score, patient, "percentile"),
            "patients, bca": bootstrapped(truth, score, patient, "bca"),
            "images, percentile": bootstrapped(truth, score, images, "percentile"),
            "patients, normal": from_variance(truth, score, patient, "normal"),
            "patients, logit": from_variance(truth, score, patient, "logit"),
            "images, normal": from_variance(truth, score, None, "normal"),
        }
        for method, limits in intervals.items():
            for name, (low, high) in limits.items():
                held.setdefault((method, name), []).append(low <= TRUE[name] <= high)
    return {key: np.mean(values) for key, values in held.items()}


@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_a_bootstrap_of_patients_holds_its_level(coverage, method, metric):
    assert HOLDS[0] <= coverage[f"patients, {method}", metric] <= HOLDS[1]


@pytest.mark.parametrize("interval", ["normal", "logit"])
def test_obuchowskis_variance_holds_its_level(coverage, interval):
    assert HOLDS[0] <= coverage[f"patients, {interval}", "auroc"] <= HOLDS[1]


@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
def test_a_bootstrap_of_images_does_not(coverage, metric):
    assert coverage["images, percentile", metric] < FAR_BELOW


def test_delongs_variance_does_not(coverage):
    assert coverage["images, normal", "auroc"] < FAR_BELOW


def test_one_image_a_patient_needs_no_clusters():
    """DeLong's interval, and the bootstrap of images, hold their level where images are independent."""
    generator = np.random.default_rng(21)
    held = {"delong": [], "bootstrap": []}
    for _ in range(SIMULATIONS):
        truth, score, image = draw_patients(generator, 150, 1, 0.0, SEPARATION)
        limits = {
            "delong": from_variance(truth, score, None, "normal")["auroc"],
            "bootstrap": bootstrapped(truth, score, image, "percentile")["auroc"],
        }
        for method, (low, high) in limits.items():
            held[method].append(low <= TRUE["auroc"] <= high)
    for values in held.values():
        assert HOLDS[0] <= np.mean(values) <= HOLDS[1]


def test_the_difference_of_two_aurocs():
    """Two models share the patients' errors in part: the clustered interval holds its level, DeLong's does not."""
    generator = np.random.default_rng(22)
    held = {"patients": [], "images": []}
    for _ in range(SIMULATIONS):
        truth, first, patient = draw_patients(generator, PATIENTS, IMAGES_EACH, SHARED, SEPARATION)
        own = np.sqrt(0.5) * generator.normal(size=PATIENTS)[patient] + np.sqrt(0.5) * generator.normal(size=len(truth))
        second = SEPARATION * (truth - 0.5) + 0.6 * (first - SEPARATION * (truth - 0.5)) + 0.8 * own
        for name, patients in (("patients", patient), ("images", None)):
            test = delong_test(truth, first, second, patients)
            held[name].append(test.low <= 0 <= test.high)
    assert HOLDS[0] <= np.mean(held["patients"]) <= HOLDS[1]
    assert np.mean(held["images"]) < FAR_BELOW
