"""The same metrics by subgroup: sex, age band, view, source, scanner, lesion size.

Fix the subgroups before looking at any result. Nothing here corrects for multiple comparisons: of twenty
differences between groups that do not differ, one is expected to have a 95% interval without 0. A subgroup that was
not planned, or one standing out among many, is a question for new data (Sun et al., BMJ 340 (2010) c117).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scanline.evaluate.bootstrap import Estimate, Statistic, estimate
from scanline.evaluate.classes import count_patients
from scanline.evaluate.inputs import Bools, Codes, Floats, as_clusters, as_partial_truth, check_lengths, refuse
from scanline.evaluate.options import EvaluateOptions
from scanline.evaluate.paired import Difference

UNKNOWN = "unknown"
NO_LESION = "no lesion"
NO_REST = "there are no other images"
ONE_CLUSTER = "no interval: the subgroup or the rest is one cluster alone"

MIN_PATIENTS = 30
MIN_PATIENTS_OF_EITHER_KIND = 10

Measure = Callable[[Codes, Codes], Statistic]


def age_bands(ages: ArrayLike, edges: Sequence[float]) -> pd.Categorical:
    """Sort ages into bands, each from its lower edge to under its upper one.

    Args:
        ages: In years, null where unknown, shape (images,).
        edges: Where a new band begins, in years, rising.

    Returns:
        Ordered bands, null where the age is, shape (images,).

    Raises:
        InputError: For a negative age, or edges that do not rise.

    Examples:
        >>> age_bands([4, 40, None, 71], [18, 40, 65]).tolist()
        ['under 18 years', '40 to under 65 years', nan, '65 years and over']
    """
    return _bands(_as_sizes(ages, "ages"), _checked_edges(edges), "years")


def lesion_size_bands(sizes: ArrayLike, edges: Sequence[float] | None = None, unit: str = "px") -> pd.Categorical:
    """Sort images into bands by the size of their lesions; images without a lesion are a band of their own.

    Args:
        sizes: Lesion area of each image in any unit, 0 without a lesion, null where unknown, shape (images,).
        edges: Where a new band begins, rising; None takes the terciles of the images with a lesion, rounded to
            three significant digits, of which equal ones are one.
        unit: Of the sizes, for the names of the bands; "" for shares.

    Returns:
        Ordered bands, "no lesion" first, null where the size is, shape (images,).

    Raises:
        InputError: For a negative size, or edges that do not rise.

    Examples:
        >>> lesion_size_bands([0, 12, None, 260, 57, 33, 100, 90]).tolist()  # doctest: +NORMALIZE_WHITESPACE
        ['no lesion', 'under 49 px', nan, '93.3 px and over', '49 to under 93.3 px', 'under 49 px',
         '93.3 px and over', '49 to under 93.3 px']
    """
    areas = _as_sizes(sizes, "sizes")
    held = areas[areas > 0]
    if edges is None:
        terciles = np.quantile(held, [1 / 3, 2 / 3]) if len(held) else np.empty(0)
        edges = sorted({float(f"{edge:.3g}") for edge in terciles})
    bands = _bands(np.where(areas > 0, areas, np.nan), _checked_edges(edges), unit)
    bands = bands.set_categories([NO_LESION, *bands.categories], ordered=True)
    bands[areas == 0] = NO_LESION
    return bands


def _as_sizes(values: ArrayLike, where: str) -> Floats:
    """Numbers of at least 0 as float64, NaN where unknown."""
    given = pd.Series(np.asarray(values, dtype=object), dtype=object)
    known = given.notna().to_numpy()
    sizes = pd.to_numeric(given.where(known, np.nan), errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(known & ~((sizes >= 0) & np.isfinite(sizes)))
    if len(wrong):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        found = f"{given[int(wrong[0])]}{more}"
        refuse(f"{where}: row {wrong[0]}", found, "a number of at least 0, or null where unknown")
    return sizes


def _checked_edges(edges: Sequence[float]) -> list[float]:
    numbers = [float(edge) for edge in edges]
    if not all(low < high for low, high in pairwise([0.0, *numbers])):
        refuse("edges", ", ".join(f"{edge:g}" for edge in numbers), "numbers above 0 that rise", "Sort the edges.")
    return numbers


def _bands(values: Floats, edges: list[float], unit: str) -> pd.Categorical:
    """Bands [edge, next edge), named by their edges; null where the value is NaN."""
    names = [str(int(edge)) if edge.is_integer() else str(edge) for edge in edges]
    ending = f" {unit}" if unit else ""
    if not edges:
        bands = [f"any{ending or ' size'}"]
    else:
        between = [f"{low} to under {high}{ending}" for low, high in pairwise(names)]
        bands = [f"under {names[0]}{ending}", *between, f"{names[-1]}{ending} and over"]
    codes = np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right"))
    return pd.Categorical.from_codes(codes, pd.Index(bands, dtype="str"), ordered=True)


class MetricsOf:
    """Some metrics of one statistic, or of several of the same clusters, by names of their own.

    Args:
        chosen: Name to the statistic that holds the metric, and its name there.

    Examples:
        >>> from scanline.evaluate.binary import BinaryMetrics
        >>> metrics = BinaryMetrics(np.array([True, False]), np.array([True, True]), np.array([0.9, 0.6]))
        >>> MetricsOf({"sensitivity": (metrics, "recall")})(np.ones((1, 2)))
        {'sensitivity': array([1.])}
    """

    def __init__(self, chosen: Mapping[str, tuple[Statistic, str]]) -> None:
        self._chosen = chosen

    def __call__(self, weights: Floats) -> dict[str, Floats]:
        """The chosen values under each row of weights."""
        values = {key: one(weights) for key, one in {id(one): one for one, _ in self._chosen.values()}.items()}
        return {name: values[id(one)][inner] for name, (one, inner) in self._chosen.items()}

    def reason_undefined(self, name: str) -> str:
        """Why a value is undefined."""
        statistic, inner = self._chosen[name]
        return statistic.reason_undefined(inner)


class AmongOthers:
    """A statistic of some clusters, as a function of the weights of all.

    Args:
        statistic: Built on clusters numbered from 0.
        places: Place of each of them among all, shape (clusters of the statistic,).
    """

    def __init__(self, statistic: Statistic, places: Codes) -> None:
        self._statistic, self._places = statistic, places

    def __call__(self, weights: Floats) -> Mapping[str, Floats]:
        """Its values under each row of weights, shape (resamples, all clusters)."""
        return self._statistic(weights[:, self._places])

    def reason_undefined(self, name: str) -> str:
        """Why a value is undefined."""
        return self._statistic.reason_undefined(name)


def evaluate_subgroups(
    groups: ArrayLike | pd.Categorical,
    measure: Measure,
    *,
    patients: Sequence[object] | pd.Series | None = None,
    clusters: Codes | None = None,
    positive: ArrayLike | None = None,
    min_patients: int = MIN_PATIENTS,
    min_patients_of_either_kind: int = MIN_PATIENTS_OF_EITHER_KIND,
    options: EvaluateOptions | None = None,
    stream: Sequence[str] = ("evaluate_subgroups",),
) -> dict[str, dict[str, Any]]:
    """Every value of a statistic in each subgroup, and its difference to the rest, with intervals.

    The rest of a subgroup are the images of all other known subgroups. Where no patient is in both, each is
    resampled by itself; a patient in both (two views, say) is drawn for both at once, so that the difference keeps
    what the two share. An average over classes may leave out other classes in a subgroup than in the rest (see
    `left_out` of the statistic): then compare class by class.

    Args:
        groups: Subgroup of each image, null (or "unknown") where unknown, shape (images,). An ordered categorical
            keeps its order.
        measure: Builds the statistic of some images: takes their rows and the cluster of each, numbered from 0, both
            of shape (images of the subgroup,).
        patients: Patient of each image, null where unknown; None takes each image for itself.
        clusters: What is drawn together, where that is more than the images of a patient (the slices of a volume of
            unknown patient): a number from 0 for each image, shape (images,). None: the patient, or the image alone.
        positive: Whether each image is positive, null where unknown, for the warning; None if that has no meaning.
        min_patients: A subgroup of fewer patients gets a warning.
        min_patients_of_either_kind: So does one with fewer patients with, or without, a positive image. Both defaults
            are this project's own and low; to validate a model in a subgroup alone takes at least 100 patients with
            the finding (Collins, Ogundimu & Altman, Statistics in Medicine 35 (2016) 214-226).
        options: Of the intervals. Stratified resamples need `positive`.
        stream: Names the random draws.

    Returns:
        JSON-ready, by subgroup ("unknown" last): its numbers of images, patients, images without a patient, clusters,
        "positives", "clusters_with_positive" and "clusters_without_positive" (null without `positive`), "warning"
        (null where patients are not few), "clusters_also_in_rest", "metrics" and "difference_to_rest": subgroup - rest,
        each {"value", "low", "high", "reason", "undefined_resamples"}. Without images there are no subgroups.

    Raises:
        InputError: For lengths that differ, groups that are all null, or stratified resamples without `positive`.

    Examples:
        >>> from scanline.evaluate.binary import BinaryMetrics
        >>> truth = np.array([True, False, True, False, True, False])
        >>> probability = np.array([0.9, 0.1, 0.8, 0.6, 0.3, 0.2])
        >>> def measure(rows, clusters):
        ...     return BinaryMetrics(truth[rows], probability[rows] >= 0.5, probability[rows], clusters)
        >>> result = evaluate_subgroups(["F", "F", "F", "M", "M", None], measure, positive=truth)
        >>> {name: (row["images"], row["metrics"]["accuracy"]["value"]) for name, row in result.items()}
        {'F': (3, 1.0), 'M': (2, 0.0), 'unknown': (1, 1.0)}
        >>> result["M"]["difference_to_rest"]["accuracy"]["value"]
        -1.0
        >>> result["F"]["warning"].split(", ")[0]
        'few patients: 3 in all (fewer than 30)'
    """
    options = options or EvaluateOptions()
    names, codes = _number_groups(groups)
    kinds = None if positive is None else as_partial_truth(positive, "positive")
    images = check_lengths(groups=codes, positive=kinds, clusters=clusters)
    clusters = as_clusters(patients, images) if clusters is None else clusters
    if options.stratified and kinds is None:
        refuse(
            "stratified", "no positive", "whether each image is positive", "Give positive, or set stratified: false."
        )
    patients_of = [None] * images if patients is None else list(patients)
    result: dict[str, dict[str, Any]] = {}
    for number, name in (*enumerate(names), (-1, UNKNOWN)):
        inside = np.flatnonzero(codes == number)
        if len(inside) == 0:
            continue
        rest = np.flatnonzero((codes != number) & (codes >= 0))
        subgroup, others = _Images(inside, clusters, kinds), _Images(rest, clusters, kinds)
        statistic = measure(subgroup.rows, subgroup.local)
        strata = subgroup.with_positive.astype(np.intp) if options.stratified else None
        estimates = estimate(statistic, len(subgroup.present), options, *stream, name, strata=strata)
        differences = (
            _compare(statistic, measure(others.rows, others.local), subgroup, others, options, (*stream, name))
            if len(rest)
            else {key: Estimate(None, None, None, NO_REST, None) for key in estimates}
        )
        counts = _count_kinds(subgroup, kinds)
        result[name] = {
            **count_patients([patients_of[row] for row in inside.tolist()], subgroup.local),
            **counts,
            "warning": _warn(len(subgroup.present), counts, min_patients, min_patients_of_either_kind),
            "clusters_also_in_rest": len(np.intersect1d(subgroup.present, others.present)),
            "metrics": {key: value.as_json() for key, value in estimates.items()},
            "difference_to_rest": {key: value.as_json() for key, value in differences.items()},
        }
    return result


class _Images:
    """Some of the images: their rows, clusters among all (`present`) and numbered from 0 (`local`)."""

    def __init__(self, rows: Codes, clusters: Codes, kinds: Floats | None) -> None:
        self.rows = rows
        present, local = np.unique(clusters[rows], return_inverse=True)
        self.present, self.local = present.astype(np.intp), local.astype(np.intp)
        known = np.full(len(rows), np.nan) if kinds is None else kinds[rows]
        self.positives = int((known == 1).sum())
        self.with_positive: Bools = np.bincount(self.local, known == 1, len(present)) > 0
        self.without_positive: Bools = ~self.with_positive & (np.bincount(self.local, known == 0, len(present)) > 0)


def _number_groups(groups: ArrayLike | pd.Categorical) -> tuple[list[str], Codes]:
    """Names of the known subgroups, and the subgroup of each image, -1 where unknown."""
    series = pd.Series(groups if isinstance(groups, pd.Categorical | pd.Series) else np.asarray(groups, dtype=object))
    names = series.astype(object).map(str, na_action="ignore")
    names = names.where(names.notna() & (names != UNKNOWN), None)
    if len(names) and names.isna().all():
        refuse("groups", f"null for all {len(names)} images", "the subgroup of at least one image")
    present = set(names.dropna())
    if isinstance(series.dtype, pd.CategoricalDtype):
        order = [str(name) for name in series.cat.categories if str(name) in present]
    else:
        order = sorted(present)
    return order, pd.Index(order, dtype=object).get_indexer(pd.Index(names, dtype=object)).astype(np.intp)


def _compare(
    statistic: Statistic,
    of_rest: Statistic,
    subgroup: _Images,
    rest: _Images,
    options: EvaluateOptions,
    stream: Sequence[str],
) -> dict[str, Estimate]:
    """Subgroup - rest: strata where no patient is in both, one joint draw otherwise."""
    everyone = np.union1d(subgroup.present, rest.present)
    first, second = (np.searchsorted(everyone, part.present).astype(np.intp) for part in (subgroup, rest))
    joint = len(first) + len(second) > len(everyone)
    strata = np.zeros(len(everyone), dtype=np.intp)
    if not joint:
        strata[first] = 2
    if options.stratified:
        strata[first[subgroup.with_positive]] |= 1
        strata[second[rest.with_positive]] |= 1
    sides = AmongOthers(statistic, first), AmongOthers(of_rest, second)
    difference = Difference(*sides, len(everyone), names=("in the subgroup", "in the rest"))
    differences = estimate(difference, len(everyone), options, *stream, "difference", strata=strata)
    if min(len(first), len(second)) > 1:
        return differences
    return {
        name: value if value.value is None else replace(value, low=None, high=None, reason=ONE_CLUSTER)
        for name, value in differences.items()
    }


def _count_kinds(subgroup: _Images, kinds: Floats | None) -> dict[str, int | None]:
    if kinds is None:
        return dict.fromkeys(("positives", "clusters_with_positive", "clusters_without_positive"))
    return {
        "positives": subgroup.positives,
        "clusters_with_positive": int(subgroup.with_positive.sum()),
        "clusters_without_positive": int(subgroup.without_positive.sum()),
    }


def _warn(clusters: int, counts: Mapping[str, int | None], at_least: int, of_either_kind: int) -> str | None:
    """Where patients are few, None where they are not; an image of no known patient counts as a patient.

    Without any patient of a kind, what needs that kind is undefined and says so itself.
    """
    parts = [f"{clusters} in all (fewer than {at_least})"] if clusters < at_least else []
    for kind in ("with", "without"):
        count = counts[f"clusters_{kind}_positive"]
        if count is not None and 0 < count < of_either_kind:
            parts.append(f"{count} {kind} a positive image (fewer than {of_either_kind})")
    return f"few patients: {', '.join(parts)}" if parts else None
