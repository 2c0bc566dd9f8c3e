"""Statistics and made patients that the tests of intervals and comparisons share."""

import numpy as np

from scanline.evaluate.bootstrap import divide, sum_by_cluster


class Mean:
    """The mean of the images' values, and nothing else: a `bootstrap.Statistic`."""

    def __init__(self, values, clusters):
        count = int(clusters.max()) + 1 if len(clusters) else 0
        self._sums = sum_by_cluster(np.stack([values, np.ones(len(values))], axis=1), clusters, count)

    def __call__(self, weights):
        values, images = (weights @ self._sums).T
        return {"mean": divide(values, images)}

    def reason_undefined(self, name):
        return "there are no images"


def draw_patients(generator, patients, images_each, shared, separation=1.0):
    """Images of patients of two kinds, and scores with an error that a patient's images share.

    An image is positive with chance 0.9 in every other patient, and with chance 0.1 in the rest. A score is
    +-separation / 2 and a normal error of variance 1, of which the share `shared` is the patient's own.

    Returns:
        Truth, score (positive where above 0), and patient, each of shape (patients * images_each,).
    """
    patient = np.repeat(np.arange(patients), images_each)
    truth = generator.random(len(patient)) < np.where(patient % 2, 0.9, 0.1)
    error = np.sqrt(shared) * generator.normal(size=patients)[patient]
    error += np.sqrt(1 - shared) * generator.normal(size=len(patient))
    return truth, separation * (truth - 0.5) + error, patient
