"""Splitting and curation against what one would use instead, in one run on the same work: tables with ratios.

    make benchmark-splitting

The peers are in requirements/benchmark.lock. The NIH ChestX-ray14 table comes out of the package torchxrayvision, or
from --table; 10 million images take 8 GB of memory, --most-images leaves out the larger sizes. StratifiedGroupKFold and
numpy's brute force take most of the time: --quick leaves them out.
"""

import argparse
import contextlib
import importlib.util
import io
import itertools
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow/scripts"))

import cv2
import faiss
import imagehash
import numpy as np
import pandas as pd
from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from skmultilearn.model_selection import iterative_train_test_split
from timing import show, timed

from scanline.curate.inspection import inspect_all, inspect_image
from scanline.split import split_groups
from scanline.split.near_hashes import near_pairs

RATIOS = {"train": 0.70, "val": 0.15, "test": 0.15}
SHARES = np.array(list(RATIOS.values()))
TABLE = "data/Data_Entry_2017_v2020.csv.gz"  # inside the package torchxrayvision
FOLDS = 20  # of which StratifiedGroupKFold's 14, 3 and 3 make 70, 15 and 15%
IMAGES_A_PATIENT = 3.6  # of the made-up tables, as in NIH ChestX-ray14
HASHES = 112_120
DISTANCE = 4
LOOPED = 500  # hashes of which the loop over pairs of imagehash is timed; its time grows with their square

Subsets = NDArray[np.int64]  # (images,): 0 train, 1 val, 2 test


@dataclass(frozen=True)
class Images:
    """A table to split.

    Attributes:
        patient: (images,) numbers of the patients from 0.
        labels: (images, labels) truth.
    """

    patient: NDArray[np.int64]
    labels: NDArray[np.bool_]

    def of_patients(self) -> NDArray[np.bool_]:
        """(patients, labels): whether any image of a patient shows the label."""
        found = np.zeros((self.patient.max() + 1, self.labels.shape[1]), bool)
        rows, columns = np.nonzero(self.labels)
        found[self.patient[rows], columns] = True
        return found


def read_nih_table(path: Path) -> Images:
    """The table of NIH ChestX-ray14: 112,120 images of 30,805 patients, 14 labels."""
    table = pd.read_csv(path, usecols=["Finding Labels", "Patient ID"])
    labels = table["Finding Labels"].str.get_dummies("|").drop(columns="No Finding")
    _, patient = np.unique(table["Patient ID"], return_inverse=True)
    return Images(patient, labels.to_numpy(bool))


def draw_images(count: int, labels: int, seed: int = 0) -> Images:
    """Made-up images: labels of 0.05% to 20% prevalence, half of a patient's images alike, 1 to some dozens each."""
    generator = np.random.default_rng(seed)
    patients = int(count / IMAGES_A_PATIENT)
    ill = generator.gamma(0.6, size=patients)
    patient = np.searchsorted(np.cumsum(ill) / ill.sum(), generator.random(count))
    patient[:patients] = np.arange(patients)
    truth = np.zeros((count, labels), bool)
    for label, share in enumerate(np.geomspace(0.0005, 0.2, labels)):
        held = generator.random(patients) < 2 * share
        truth[:, label] = held[patient] & (generator.random(count) < 0.5)
    return Images(patient, truth)


def by_scanline(images: Images, seed: int = 0) -> Subsets:
    """Ours, from data frames to a data frame, as a user calls it."""
    names = [f"label{number}" for number in range(images.labels.shape[1])]
    table = pd.DataFrame(images.labels, columns=names)
    table["patient"] = images.patient
    subset = split_groups(table, group="patient", ratios=RATIOS, labels=names, seed=seed)
    return subset.map({name: number for number, name in enumerate(RATIOS)}).to_numpy(np.int64)


def by_group_folds(images: Images, seed: int = 0) -> Subsets:
    """StratifiedGroupKFold takes one label: the rarest of an image's. Combinations take minutes, and are worse."""
    order = np.argsort(images.labels.sum(axis=0))
    rarest = np.where(images.labels.any(axis=1), images.labels[:, order].argmax(axis=1), len(order))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    subsets = np.zeros(len(images.patient), int)
    ends = np.cumsum(np.rint(SHARES * FOLDS))
    for fold, (_, held) in enumerate(folds.split(images.labels, rarest, images.patient)):
        subsets[held] = np.searchsorted(ends, fold, side="right")
    return subsets


def by_shuffle_split(images: Images, seed: int = 0) -> Subsets:
    """MultilabelStratifiedShuffleSplit on patients, twice: it has two sides."""
    truth = images.of_patients().astype(int)

    def halve(rows: NDArray[np.int64], share: float) -> NDArray[np.int64]:
        split = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
        return rows[next(split.split(rows, truth[rows]))[1]]

    return _two_cuts(images, len(truth), halve)


def by_iterative_split(images: Images, seed: int = 0) -> Subsets:
    """iterative_train_test_split of scikit-multilearn on patients, twice."""
    truth = images.of_patients().astype(int)
    np.random.seed(seed)  # noqa: NPY002 - the state that it draws from

    def halve(rows: NDArray[np.int64], share: float) -> NDArray[np.int64]:
        return iterative_train_test_split(rows[:, None], truth[rows], share)[2][:, 0]

    return _two_cuts(images, len(truth), halve)


def _two_cuts(images: Images, patients: int, halve: Callable[[NDArray[np.int64], float], NDArray[np.int64]]) -> Subsets:
    rest = halve(np.arange(patients), 1 - SHARES[0])
    test = halve(rest, SHARES[2] / (SHARES[1] + SHARES[2]))
    of_patient = np.zeros(patients, int)
    of_patient[rest], of_patient[test] = 1, 2
    return of_patient[images.patient]


@dataclass(frozen=True)
class Quality:
    """How far the subsets are from equal shares.

    Attributes:
        mean, worst: Deviation of a label's prevalence among a subset's images, relative to that among all.
        images_off: Most images of a label in a subset beyond what the best whole numbers are off themselves.
        patients: Worst deviation of a label's prevalence among a subset's patients, relative to that among all.
        size: Largest difference of a subset's share of the images from its ratio, in points (1 = one per cent of all).
        parted: Patients in more than one subset.
    """

    mean: float
    worst: float
    images_off: float
    patients: float
    size: float
    parted: int


def measure(images: Images, subsets: Subsets) -> Quality:
    """Measure a split."""
    counts = _counts(images.labels, subsets)
    sizes = np.bincount(subsets, minlength=3)
    deviation = np.abs(counts / sizes[:, None] * len(subsets) / counts.sum(axis=0) - 1)
    targets = SHARES[:, None] * counts.sum(axis=0)
    best_off = np.abs(whole_numbers(targets) - targets).max(axis=0)
    subset_of_patient = np.zeros(images.patient.max() + 1, int)
    subset_of_patient[images.patient] = subsets
    of_patients = images.of_patients()
    holders = _counts(of_patients, subset_of_patient)
    patients = np.bincount(subset_of_patient, minlength=3)
    among_patients = np.abs(holders / patients[:, None] * len(of_patients) / holders.sum(axis=0) - 1)
    return Quality(
        mean=100 * deviation.mean(),
        worst=100 * deviation.max(),
        images_off=max(0.0, float((np.abs(counts - targets) - best_off).max())),
        patients=100 * among_patients.max(),
        size=100 * np.abs(sizes / len(subsets) - SHARES).max(),
        parted=int((subset_of_patient[images.patient] != subsets).sum()),
    )


def whole_numbers(targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """The whole numbers nearest to targets, (3, labels), that add up to as many in all: by largest remainder."""
    whole = np.floor(targets + 1e-9)
    left = np.rint((targets - whole).sum(axis=0))
    rank = np.argsort(np.argsort(whole - targets, axis=0, kind="stable"), axis=0, kind="stable")
    return whole + (rank < left)


def _counts(truth: NDArray[np.bool_], subsets: Subsets) -> NDArray[np.int64]:
    """(3, labels): how many of each subset show each label."""
    return np.stack([truth[subsets == subset].sum(axis=0) for subset in range(3)])


HEADING = f"  {'':<44}{'mean':>8}{'worst':>9}{'images':>9}{'patients':>10}{'size':>9}{'time':>12}{'ratio':>9}"


def show_splits(title: str, runs: dict[str, tuple[float, Quality]]) -> None:
    """Print a split a line; ours stands first."""
    print(f"\n{title}\n{HEADING}")
    ours = next(iter(runs.values()))[0]
    for name, (seconds, found) in runs.items():
        print(
            f"  {name:<44}{found.mean:>7.3f}%{found.worst:>8.3f}%{found.images_off:>9.1f}{found.patients:>9.2f}%"
            f"{found.size:>9.4f}{seconds:>10.2f} s{seconds / ours:>8.1f}x"
        )
        if found.parted:
            print(f"  {name}: {found.parted} images are parted from their patient")


def compare_splits(path: Path, quick: bool) -> None:
    """The NIH table split 70/15/15 by patients."""
    images = read_nih_table(path)
    by_scanline(images)  # compiles
    methods = {
        "scanline.split": by_scanline,
        "iterstrat MultilabelStratifiedShuffleSplit": by_shuffle_split,
        "skmultilearn iterative_train_test_split": by_iterative_split,
    }
    if not quick:
        methods["scikit-learn StratifiedGroupKFold"] = by_group_folds
    runs = {}
    for name, method in methods.items():
        seconds, subsets = timed(lambda method=method: method(images), rounds=3 if name == "scanline.split" else 1)
        runs[name] = seconds, measure(images, subsets)
    for seed in range(1, 5):
        seconds, subsets = timed(lambda seed=seed: by_scanline(images, seed))
        runs[f"scanline.split, seed {seed}"] = seconds, measure(images, subsets)
    title = f"{len(images.patient):,} images of {images.patient.max() + 1:,} patients, {images.labels.shape[1]} labels"
    show_splits(f"{title}, 70/15/15", runs)
    print(
        "  Of each label in each subset: mean and worst deviation of its prevalence among images, images beyond the"
        "\n  best whole number, worst deviation among patients. Size: largest difference from the ratios, in points."
    )


def show_large(most_images: int) -> None:
    """Made-up tables of a million images and more, 50 labels."""
    runs = {}
    for count in (1_000_000, 10_000_000):
        if count <= most_images:
            images = draw_images(count, labels=50)
            seconds, subsets = timed(lambda images=images: by_scanline(images))
            runs[f"{count:,} images, {images.patient.max() + 1:,} patients"] = seconds, measure(images, subsets)
    if runs:
        show_splits("scanline.split on made-up tables with 50 labels (ratio: to the first)", runs)


def draw_hashes(kind: str, count: int = HASHES) -> NDArray[np.uint64]:
    """Made-up 64-bit hashes: `spread` at random, `clustered` around 500 of them, up to 6 bits away."""
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**64, count, dtype=np.uint64)
    if kind == "spread":
        return hashes
    hashes = hashes[generator.integers(0, 500, count)]
    for _ in range(6):
        bit = np.uint64(1) << generator.integers(0, 64, count, dtype=np.uint64)
        hashes = hashes ^ np.where(generator.random(count) < 0.7, bit, np.uint64(0))
    return hashes


def by_near_hashes(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """All pairs by ours, (pairs, 2)."""
    return np.concatenate([np.empty((0, 2), np.int64), *near_pairs(hashes, DISTANCE)])


def by_faiss(hashes: NDArray[np.uint64]) -> int:
    """Number of pairs by faiss; each is found from both ends, and each hash finds itself."""
    rows = hashes.view(np.uint8).reshape(-1, 8)
    index = faiss.IndexBinaryFlat(64)
    index.add(rows)
    ends, _, _ = index.range_search(rows, DISTANCE + 1)
    return (int(ends[-1]) - len(hashes)) // 2


def by_imagehash(hashes: NDArray[np.uint64]) -> int:
    """Number of pairs by a loop over the pairs of imagehash's hashes."""
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1).astype(bool)
    objects = [imagehash.ImageHash(row.reshape(8, 8)) for row in bits]
    return sum(one - other <= DISTANCE for one, other in itertools.combinations(objects, 2))


def by_brute_force(hashes: NDArray[np.uint64], rows: int = 256) -> NDArray[np.int64]:
    """All pairs (i < j) in numpy, (pairs, 2), in order."""
    found = []
    for start in range(0, len(hashes), rows):
        block = hashes[start : start + rows]
        near = np.bitwise_count(block[:, None] ^ hashes[None, start:]) <= DISTANCE
        one, other = np.nonzero(np.triu(near, 1))
        found.append(np.column_stack([one, other]) + start)
    return np.concatenate(found)


def compare_candidates(quick: bool) -> None:
    """Pairs of 64-bit hashes within 4 bits."""
    by_near_hashes(draw_hashes("clustered", 1_000))  # compiles
    for kind in ("spread", "clustered"):
        hashes = draw_hashes(kind)
        runs = {
            "scanline.split.near_hashes": timed(lambda hashes=hashes: by_near_hashes(hashes), rounds=3),
            "faiss IndexBinaryFlat.range_search": timed(lambda hashes=hashes: by_faiss(hashes), rounds=2),
        }
        ours, theirs = (result for _, result in runs.values())
        looped, _ = timed(lambda hashes=hashes: by_imagehash(hashes[:LOOPED]))
        runs[f"imagehash, loop over pairs, from {LOOPED} hashes"] = looped * (len(hashes) / LOOPED) ** 2, None
        if not quick:
            runs["numpy, brute force"] = timed(lambda hashes=hashes: by_brute_force(hashes))
        rows = [(name, seconds) for name, (seconds, _) in runs.items()]
        show(f"Pairs within {DISTANCE} bits of {len(hashes):,} {kind} hashes: {len(ours):,}", rows)
        said = "the same number as faiss" if len(ours) == theirs else f"NOT the {theirs:,} of faiss"
        if not quick:
            same = np.array_equal(in_order(ours), runs["numpy, brute force"][1])
            said += ", the same pairs as brute force" if same else ", NOT the pairs of brute force"
        print(f"  {said}")


def in_order(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs with the smaller number first, sorted."""
    pairs = np.sort(pairs.astype(np.int64), axis=1)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def write_radiographs(folder: Path, suffix: str, count: int, side: int = 1024) -> list[str]:
    """Made-up grey images with soft shapes and noise, as JPEG or PNG files."""
    generator = np.random.default_rng(0)
    paths = []
    for number in range(count):
        soft = cv2.resize(generator.normal(128, 50, (12, 12)), (side, side), interpolation=cv2.INTER_CUBIC)
        pixels = (soft + generator.normal(0, 3, soft.shape)).clip(0, 255).astype(np.uint8)
        paths.append(f"{number:04d}{suffix}")
        cv2.imwrite(str(folder / paths[-1]), pixels)
    return paths


def compare_scan(count: int) -> None:
    """The scan of curation against OpenCV's decoder alone, both on all cores, files in the page cache."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

    def decode(path: Path) -> int:
        return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE).size

    for suffix in (".jpg", ".png"):
        with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(cores) as pool:
            folder = Path(name)
            paths = write_radiographs(folder, suffix, count)
            files = [folder / path for path in paths]
            with contextlib.redirect_stderr(io.StringIO()):  # the progress bar
                ours = timed(lambda: inspect_all(inspect_image, folder, paths, "image"), rounds=3)[0]  # noqa: B023
            theirs = timed(lambda: list(pool.map(decode, files)), rounds=3)[0]  # noqa: B023
        rows = [("scanline.curate: hash, strict decode, statistics, thumbnail", ours), ("cv2.imdecode alone", theirs)]
        title = f"{count} {suffix[1:].upper()} files of 1024 x 1024 pixels on {cores} cores, a file"
        show(title, [(name, seconds / count) for name, seconds in rows], unit="ms", scale=1000)
        print(f"  ours takes {ours / theirs:.2f} times as long as the decoder alone")


def find_table() -> Path | None:
    """The table in the installed package torchxrayvision, which is not imported; None where it is not there."""
    package = importlib.util.find_spec("torchxrayvision")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / TABLE


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=find_table(), help="Data_Entry_2017_v2020.csv, or .csv.gz")
    parser.add_argument("--most-images", type=int, default=10_000_000, help="largest of the made-up tables")
    parser.add_argument("--files", type=int, default=100, help="image files to scan, of each format")
    parser.add_argument("--quick", action="store_true", help="leave out the peers that take minutes")
    args = parser.parse_args()
    if args.table is None:
        parser.error("no table: install requirements/benchmark.lock, or name one with --table")
    warnings.filterwarnings("ignore", category=FutureWarning)  # of the peers
    compare_splits(args.table, args.quick)
    show_large(args.most_images)
    compare_candidates(args.quick)
    compare_scan(args.files)


if __name__ == "__main__":
    main()
