"""How often nominal 95% intervals hold the true value, and how wide they are, by simulation: a table.

    python benchmarks/interval_coverage.py [--simulations 400] [--resamples 500] [--images-each 8]

Every other patient is positive in nine of ten images, the rest in one of ten. A score is +-0.6 and a normal error of
variance 1, of which a patient's images share the stated part. The true accuracy is Phi(0.6), and the true AUROC of
images of different patients Phi(1.2 / sqrt 2). With 400 simulations a coverage of 0.95 has a standard error of 0.011.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow/scripts"))

import numpy as np
from scipy.stats import norm

from scanline.evaluate.bootstrap import divide, estimate, sum_by_cluster
from scanline.evaluate.delong import delong_auroc
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.ranking import Ranking

PATIENTS, SHARED, SEPARATION = (20, 50, 100, 200), (0.0, 0.3, 0.6), 1.2
TRUE = {"accuracy": norm.cdf(SEPARATION / 2), "AUROC": norm.cdf(SEPARATION / np.sqrt(2))}
METHODS = (
    ("bootstrap of patients, percentile", "accuracy"),
    ("bootstrap of patients, BCa", "accuracy"),
    ("bootstrap of images, percentile", "accuracy"),
    ("bootstrap of patients, percentile", "AUROC"),
    ("bootstrap of patients, BCa", "AUROC"),
    ("Obuchowski's variance, normal", "AUROC"),
    ("Obuchowski's variance, logit", "AUROC"),
    ("bootstrap of images, percentile", "AUROC"),
    ("DeLong's variance, normal", "AUROC"),
)
Limits = tuple[float | None, float | None]


class AccuracyAndAuroc:
    """The two metrics: a `bootstrap.Statistic`."""

    def __init__(self, truth: np.ndarray, score: np.ndarray, clusters: np.ndarray) -> None:
        columns = np.stack([truth == (score > 0), np.ones(len(truth))], axis=1)
        self._sums = sum_by_cluster(columns, clusters, int(clusters.max()) + 1)
        self._ranking = Ranking(truth, score, clusters)

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Both under each row of weights."""
        correct, images = (weights @ self._sums).T
        return {"accuracy": divide(correct, images), "AUROC": self._ranking.areas(weights)[0]}

    def reason_undefined(self, name: str) -> str:
        """Why a metric is undefined."""
        return f"no {name} without images of both kinds"


def draw(generator: np.random.Generator, patients: int, images_each: int, shared: float) -> tuple[np.ndarray, ...]:
    """Truth, score and patient of each image."""
    patient = np.repeat(np.arange(patients), images_each)
    truth = generator.random(len(patient)) < np.where(patient % 2, 0.9, 0.1)
    error = np.sqrt(shared) * generator.normal(size=patients)[patient]
    error += np.sqrt(1 - shared) * generator.normal(size=len(patient))
    return truth, SEPARATION * (truth - 0.5) + error, patient


def intervals(truth: np.ndarray, score: np.ndarray, patient: np.ndarray, resamples: int) -> dict[tuple, Limits]:
    """Limits by every method and metric."""
    found: dict[tuple, Limits] = {}
    for method, form, clusters in (
        ("bootstrap of patients, percentile", "percentile", patient),
        ("bootstrap of patients, BCa", "bca", patient),
        ("bootstrap of images, percentile", "percentile", np.arange(len(patient))),
    ):
        options = EvaluateOptions(bootstrap_resamples=resamples, interval_method=form)
        for name, one in estimate(AccuracyAndAuroc(truth, score, clusters), clusters.max() + 1, options).items():
            found[method, name] = (one.low, one.high)
    for method, form, patients in (
        ("Obuchowski's variance, normal", "normal", patient),
        ("Obuchowski's variance, logit", "logit", patient),
        ("DeLong's variance, normal", "normal", None),
    ):
        auroc = delong_auroc(truth, score, patients, interval=form)
        found[method, "AUROC"] = (auroc.low, auroc.high)
    return found


def simulate(arguments: argparse.Namespace, patients: int, shared: float) -> dict[tuple, tuple[float, float]]:
    """Coverage and mean width by method and metric; an interval that is missing holds nothing."""
    generator = np.random.default_rng([patients, round(100 * shared)])
    held: dict[tuple, list[bool]] = {key: [] for key in METHODS}
    widths: dict[tuple, list[float]] = {key: [] for key in METHODS}
    for _ in range(arguments.simulations):
        sample = draw(generator, patients, arguments.images_each, shared)
        for key, (low, high) in intervals(*sample, arguments.resamples).items():
            held[key].append(low is not None and high is not None and low <= TRUE[key[1]] <= high)
            if low is not None and high is not None:
                widths[key].append(high - low)
    return {key: (float(np.mean(held[key])), float(np.mean(widths[key]))) for key in METHODS}


def main() -> None:
    """Print the table: coverage, and mean width in brackets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=400, help="of each cell of the table")
    parser.add_argument("--resamples", type=int, default=500, help="of each bootstrap")
    parser.add_argument("--images-each", type=int, default=8, help="images of a patient")
    arguments = parser.parse_args()
    start = time.perf_counter()
    print(f"{arguments.simulations} simulations, {arguments.images_each} images a patient: coverage (mean width)")
    for shared in SHARED:
        cells = [simulate(arguments, patients, shared) for patients in PATIENTS]
        print(f"\n{f'{shared:.0%} of the error is shared':<45}" + "".join(f"{f'{n} patients':>15}" for n in PATIENTS))
        for method, metric in METHODS:
            row = "".join(f"{cell[method, metric][0]:>7.3f} ({cell[method, metric][1]:.3f})" for cell in cells)
            print(f"{metric:<10}{method:<35}{row}")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
