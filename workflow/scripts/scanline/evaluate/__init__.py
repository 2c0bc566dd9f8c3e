"""Stage 7, evaluate: metrics with patient-level intervals, on arrays and data frames.

It stands alone: `pip install .` in a clone of Scanline, then import what you need. It uses neither Snakemake nor
PyTorch. Four things hold everywhere:

* Every value has an interval from a bootstrap of whole patients, since images of one patient resemble each other.
  With few patients (20 to 50) such intervals hold the truth in about 90 to 94 of 100 cases rather than 95.
* What cannot be computed is null with its reason, never 0.
* Unknown is not negative: an entry that nobody looked for is left out of its class.
* Thresholds and temperatures are fitted on val, written down with a digest of what they were fitted on, then applied.

A yes-or-no classifier:

    >>> import numpy as np
    >>> from scanline.evaluate.binary import evaluate_binary
    >>> from scanline.evaluate.operating_point import fit_operating_point
    >>> from scanline.evaluate.options import EvaluateOptions
    >>> generator = np.random.default_rng(0)
    >>> def draw(patients):
    ...     patient = np.repeat(np.arange(patients), 8)
    ...     truth = generator.random(len(patient)) < 0.3
    ...     hard = generator.normal(0, 0.7, patients)[patient]
    ...     return truth, 1 / (1 + np.exp(1 - 3 * truth + hard + generator.normal(0, 1, len(truth)))), patient
    >>> (val_truth, val_score, _), (truth, score, patient) = draw(40), draw(60)
    >>> options = EvaluateOptions(operating_point="sensitivity", target=0.9)
    >>> names = [f"image{number}" for number in range(len(val_truth))]
    >>> point = fit_operating_point(options, names, val_truth, val_score)
    >>> result = evaluate_binary(truth, score, threshold=point.threshold, patients=patient, options=options)
    >>> for name in ("auroc", "recall", "specificity"):
    ...     print("{0}: {value:.3f} [{low:.3f}, {high:.3f}]".format(name, **result["metrics"][name]))
    auroc: 0.961 [0.948, 0.974]
    recall: 0.879 [0.819, 0.930]
    specificity: 0.897 [0.853, 0.936]

Two models on the same images:

    >>> from scanline.evaluate.comparison import compare_binary
    >>> other = 1 / (1 + np.exp(1 - 2 * truth + generator.normal(0, 1, len(truth))))
    >>> auroc = compare_binary(truth, score, other, patients=patient)["metrics"]["auroc"]
    >>> print("{value:+.3f} [{low:+.3f}, {high:+.3f}], p = {p:.4f}".format(**auroc))
    +0.033 [+0.008, +0.061], p = 0.0165

The other entrances are `evaluate_multiclass`, `evaluate_multilabel`, `evaluate_detection`, `evaluate_segmentation`,
`evaluate_calibration`, `evaluate_localization` and `evaluate_subgroups`. A metric of your own joins them by being a
`bootstrap.Statistic`: named values as a function of the patients' weights.
"""
