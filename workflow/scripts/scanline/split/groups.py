"""Groups of images that must never be parted."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scanline.core.errors import InputError
from scanline.core.tables import GROUPS, validate
from scanline.split.keys import KINDS, NATURAL, tie_keys

LARGEST_SHARE = 0.05
FEWEST_UNITS = 20
LISTED = 5


def find_groups(images: pd.DataFrame, thumbnails: pd.DataFrame | None = None) -> pd.DataFrame:
    """Join all images that share a patient, a volume, an original, an informative file's bytes or a near-duplicate.

    Groups are the connected components of the graph between images and their keys. A group is called after
    its smallest patient_id, or `image:` and its smallest image_id where it has no patient, whatever the rows'
    order.

    A group above 5% of all images stops the run, since it mostly means a false tie, but not

    * a group of one unit alone: a patient, or where there is none a volume, an original or an image;
    * in a study of fewer than 20 units, where every unit is about as large as that;
    * two units in a study of fewer than 40, which are 5% of it by themselves.

    Args:
        images: IMAGES table of n rows.
        thumbnails: THUMBNAILS table of the images that have a phash; without it near-duplicates tie nothing.

    Returns:
        GROUPS table of n rows, sorted by image_id.

    Raises:
        InputError: If there are no images, an image stands there twice, thumbnails are of other images, or a
            group is too large; then with the keys that bridge its patients.
    """
    check_image_ids(images, "images table")
    images = images.sort_values("image_id", ignore_index=True)
    keys = tie_keys(images, thumbnails)
    component = _components(keys)
    _refuse_large_groups(images, keys, component)
    names = _group_names(images, component)
    groups = pd.DataFrame({"image_id": images["image_id"], "group_id": names})
    return validate(groups, GROUPS, "groups table")


def check_image_ids(table: pd.DataFrame, where: str) -> None:
    """Check that a table has rows and names every image once.

    Raises:
        InputError: If it does not.
    """
    if table.empty:
        raise InputError(
            where,
            found="no images",
            expected="at least one",
            next_step="See the rejects table for the reasons.",
        )
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    if not twice.empty:
        raise InputError(
            f"{where}: image_id",
            found=f"{len(twice)} images more than once, first {twice.min()!r}",
            expected="every image once",
            next_step="Delete this table and make it again.",
        )


def _components(keys: pd.DataFrame) -> NDArray[np.int64]:
    """Number of the connected component of each row; rows are tied by every key that they share."""
    n_images = len(keys)
    rows, nodes, n_nodes = [], [], n_images
    for kind in KINDS:
        codes, values = pd.factorize(keys[kind])
        held = np.flatnonzero(codes >= 0)
        rows.append(held)
        nodes.append(codes[held] + n_nodes)
        n_nodes += len(values)
    ends = np.concatenate(rows), np.concatenate(nodes)
    graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), ends), shape=(n_nodes, n_nodes))
    _, component = connected_components(graph, directed=False)
    return np.asarray(component[:n_images], dtype=np.int64)


def _group_names(images: pd.DataFrame, component: NDArray[np.int64]) -> pd.Series:
    patients = images["patient_id"].groupby(component).transform("min")
    first_images = "image:" + images["image_id"].groupby(component).transform("min")
    return patients.fillna(first_images)


def _units(images: pd.DataFrame, keys: pd.DataFrame) -> pd.Series:
    """What each image belongs to by nature: its patient, else its volume, its original, its bytes, itself."""
    units = pd.Series(pd.NA, index=images.index, dtype="str")
    for kind in NATURAL:
        units = units.fillna(kind.removesuffix("_id") + " " + keys[kind])
    return units.fillna("image " + images["image_id"])


def _refuse_large_groups(images: pd.DataFrame, keys: pd.DataFrame, component: NDArray[np.int64]) -> None:
    units = _units(images, keys)
    n_units = units.nunique()
    if n_units < FEWEST_UNITS:
        return
    most_units = 2 if n_units * LARGEST_SHARE < 2 else 1
    counts = units.groupby(component).agg(["size", "nunique"])
    large = counts[(counts["size"] > LARGEST_SHARE * len(images)) & (counts["nunique"] > most_units)]
    if large.empty:
        return
    largest = large.sort_values("size", kind="stable").tail(1)
    size, joined = largest.iloc[0]
    inside = component == largest.index[0]
    raise InputError(
        f"images table: group of {images.loc[inside, 'image_id'].min()}",
        found=(
            f"{joined} patients or other units tied into {size} of {len(images)} images "
            f"({size / len(images):.0%}), bridged by {_bridges(keys[inside], units[inside], images[inside])}"
        ),
        expected=f"at most {LARGEST_SHARE:.0%} of all images in a group of several patients",
        next_step="Mend or reject the images that bridge them, or merge the patients if they are one.",
    )


def _bridges(keys: pd.DataFrame, units: pd.Series, images: pd.DataFrame) -> str:
    """The keys that stand in several units, those that tie most first, each with two of its images."""
    found: list[tuple[int, str, str]] = []
    for kind in KINDS:
        tied = units.groupby(keys[kind]).nunique()
        for key, n_units in tied[tied > 1].items():
            holders = images.loc[keys[kind] == key, "image_id"]
            pair = holders.groupby(units[holders.index]).min().sort_values().iloc[:2]
            found.append((-int(n_units), f"{kind} {key}", f"{n_units} units, e.g. {pair.iloc[0]} and {pair.iloc[1]}"))
    listed = [f"{key} ({what})" for _, key, what in sorted(found)[:LISTED]]
    more = f" and {len(found) - LISTED} keys more" if len(found) > LISTED else ""
    return "; ".join(listed) + more
