"""Near-duplicates: found when confirmed, never on the word of a hash alone, and absent from the real study."""

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from split_cohorts import images_table, shuffled

from scanline.core.errors import InputError
from scanline.core.images import read_image
from scanline.curate.inspection import inspect_all, inspect_image
from scanline.curate.phash import perceptual_hash
from scanline.curate.thumbnails import make_thumbnail
from scanline.split.groups import find_groups
from scanline.split.keys import tie_keys
from scanline.split.near_duplicates import CORRELATION, near_duplicate_clusters, nearest_across

REAL = Path(os.environ.get("SCANLINE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "phe_sich_ids"


def picture(seed, size=96):
    """A smooth picture with a dark border, unlike any of another seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (7, 7)).astype(np.float32)
    pixels = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.pad(pixels, size // 6).clip(0, 255).astype(np.uint8)


def jpeg(pixels, quality=50):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def tables(pixels, **columns):
    """Images s/0, s/1, ..., each of a patient of its own, and their thumbnails."""
    rows, thumbnails = [], []
    for index, one in enumerate(pixels):
        thumbnail = make_thumbnail(one)
        phash = perceptual_hash(thumbnail)
        values = {name: given[index] for name, given in columns.items()}
        rows.append({"image_id": f"s/{index}", "patient_id": f"p{index}", "phash": phash, **values})
        if phash is not None:
            thumbnails.append({"image_id": f"s/{index}", "thumbnail": thumbnail.tobytes()})
    return images_table(rows), pd.DataFrame(thumbnails, columns=["image_id", "thumbnail"])


def by_hand(hashes, thumbnails):
    """Tables of given hashes and thumbnails."""
    images = images_table([{"image_id": f"s/{i:02d}", "phash": f"{h:016x}"} for i, h in enumerate(hashes)])
    contents = [np.asarray(t, np.uint8).tobytes() for t in thumbnails]
    return images, pd.DataFrame({"image_id": images["image_id"], "thumbnail": contents})


def split_of(images, subsets):
    return pd.DataFrame({"image_id": images["image_id"], "subset": subsets})


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        lambda pixels: cv2.resize(cv2.resize(pixels, (64, 64), interpolation=cv2.INTER_AREA), pixels.shape[::-1]),
        lambda pixels: (pixels * 0.9 + 12).astype(np.uint8),
        lambda pixels: pixels,
    ],
    ids=["jpeg_50", "half_size", "brightness", "same"],
)
def test_a_picture_saved_twice_is_one_cluster(change):
    images, thumbnails = tables([picture(1), picture(2), change(picture(1)), picture(3)])
    clusters = near_duplicate_clusters(images, thumbnails)
    assert clusters.isna().tolist() == [False, True, False, True]
    assert clusters[0] == clusters[2] == "s/0"
    assert find_groups(images, thumbnails)["group_id"].tolist() == ["p0", "p1", "p0", "p3"]
    assert find_groups(images)["group_id"].nunique() == 4
    assert tie_keys(images)["near_duplicate"].isna().all()


def test_an_equal_hash_that_is_not_confirmed_ties_nothing():
    thumbnails = [make_thumbnail(picture(seed)) for seed in range(6)]
    images, table = by_hand([7] * 6, thumbnails)
    assert near_duplicate_clusters(images, table).isna().all()


def test_correlated_thumbnails_of_far_hashes_are_no_candidates():
    thumbnail = make_thumbnail(picture(1))
    other = thumbnail.copy()
    other[0, 0] += 1
    images, table = by_hand([0, 0b11111], [thumbnail, other])
    assert near_duplicate_clusters(images, table).isna().all()
    images, table = by_hand([0, 0b1111], [thumbnail, other])
    assert near_duplicate_clusters(images, table).tolist() == ["s/00", "s/00"]


def test_blank_and_low_content_images_tie_nothing():
    faint = np.tile(np.arange(96) % 3, (96, 1)).astype(np.uint8)
    images, thumbnails = tables([np.zeros((96, 96), np.uint8)] * 3 + [faint] * 3 + [picture(1)])
    assert images["phash"].notna().sum() == len(thumbnails) == 1
    assert near_duplicate_clusters(images, thumbnails).isna().all()
    assert find_groups(images, thumbnails)["group_id"].nunique() == 7


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_clusters_are_the_components_of_all_confirmed_pairs(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 28))
    base = np.stack([make_thumbnail(picture(int(rng.integers(0, 3)))) for _ in range(n)]).astype(int)
    noise = rng.normal(0, rng.choice([1.0, 6.0, 9.0, 12.0], (n, 1, 1)), base.shape)
    thumbnails = (base + noise).round().clip(0, 255).astype(np.uint8)
    hashes = [int(sum(1 << int(bit) for bit in set(rng.integers(0, 9, 4).tolist()))) for _ in range(n)]
    images, table = by_hand(hashes, thumbnails)
    correlation = np.corrcoef(thumbnails.reshape(n, -1))
    tied = np.eye(n, dtype=bool)
    for one in range(n):
        for other in range(n):
            near = (hashes[one] ^ hashes[other]).bit_count() <= 4 and correlation[one, other] >= CORRELATION
            tied[one, other] |= near
    for _ in range(n):
        tied = (tied.astype(int) @ tied.astype(int)) > 0
    expected = [f"s/{tied[row].argmax():02d}" if tied[row].sum() > 1 else "" for row in range(n)]
    found = near_duplicate_clusters(images, table)
    assert found.fillna("").tolist() == expected
    again = shuffled(images, seed)
    places = again["image_id"].str[2:].astype(int)
    assert near_duplicate_clusters(again, shuffled(table, 1)).fillna("").tolist() == found[places].fillna("").tolist()


def test_rows_keep_their_index():
    images, thumbnails = tables([picture(1), picture(2), jpeg(picture(1))])
    clusters = near_duplicate_clusters(images.set_index(pd.Index([9, 5, 7])), thumbnails)
    assert clusters.dropna().to_dict() == {9: "s/0", 7: "s/0"}


def test_many_pictures_alike_but_unlike_enough_stay_apart_and_copies_are_one():
    rng = np.random.default_rng(0)
    thumbnails = rng.integers(0, 255, (600, 32, 32)).astype(np.uint8)
    images, table = by_hand([5] * 1200, np.concatenate([thumbnails, thumbnails]))
    clusters = near_duplicate_clusters(images, table)
    assert clusters.nunique() == 600
    assert clusters.groupby(clusters).size().eq(2).all()


def test_thumbnails_of_other_images_stop():
    images, thumbnails = tables([picture(1), picture(2), np.zeros((9, 9), np.uint8)])
    with pytest.raises(InputError, match=r"found 1 images without a thumbnail, first 's/1'"):
        near_duplicate_clusters(images, thumbnails.iloc[:1])
    blank = pd.DataFrame({"image_id": ["s/2"], "thumbnail": [bytes(1024)]})
    with pytest.raises(InputError, match=r"found 1 images without a perceptual hash, first 's/2'"):
        near_duplicate_clusters(images, pd.concat([thumbnails, blank]))
    with pytest.raises(InputError, match=r"column thumbnail: found b'ab', b'cd'; expected .*1,024 bytes"):
        near_duplicate_clusters(images, thumbnails.assign(thumbnail=[b"ab", b"cd"]))
    with pytest.raises(InputError, match=r"phash of s/0: found 'xyz'; expected 16 hexadecimal digits"):
        near_duplicate_clusters(images.assign(phash=["xyz", *images["phash"][1:]]), thumbnails)


def test_no_informative_image_at_all():
    images, thumbnails = tables([np.zeros((9, 9), np.uint8)] * 2)
    assert near_duplicate_clusters(images, thumbnails).isna().all()
    assert nearest_across(images, thumbnails, split_of(images, ["train", "test"]), 3) == []


def test_the_nearest_pairs_across_subsets():
    rng = np.random.default_rng(0)
    base = make_thumbnail(picture(1)).astype(int)
    noisy = [(base + rng.normal(0, sd, base.shape)).clip(0, 255).astype(np.uint8) for sd in (0, 5, 20, 10, 0)]
    images, table = by_hand([3] * 5, noisy)
    listed = nearest_across(images, table, split_of(images, ["train", "train", "test", "val", "train"]), 3)
    pixels = np.stack(noisy).reshape(5, -1)
    correlation = np.corrcoef(pixels)
    assert [row["images"] for row in listed] == [["s/00", "s/03"], ["s/01", "s/03"], ["s/00", "s/02"]]
    assert [row["subsets"] for row in listed] == [["train", "val"], ["train", "val"], ["train", "test"]]
    expected = [correlation[0, 3], correlation[1, 3], correlation[0, 2]]
    assert [row["correlation"] for row in listed] == pytest.approx(expected, abs=1e-9)


@pytest.fixture(scope="module")
def real():
    """Images and thumbnails of the real study, read by curation's own scan."""
    folder = REAL / "SubdatasetC_PNG" / "set"
    files = sorted(folder.rglob("*.png"))
    if not files:
        pytest.skip(f"the real study is not at {REAL}; set SCANLINE_DATA to the folder that holds phe_sich_ids")
    paths = [str(file.relative_to(folder)) for file in files]
    inspected = inspect_all(inspect_image, folder, paths, "image")
    rows = [
        {
            "image_id": f"s/{path.removesuffix('.png')}",
            "path": str(folder / path),
            "patient_id": path.split("/")[0],
            "sha256": inspected[path].sha256,
            "phash": inspected[path].phash,
        }
        for path in paths
    ]
    images = images_table(rows)
    thumbnails = pd.DataFrame(
        {"image_id": images["image_id"], "thumbnail": [inspected[path].thumbnail for path in paths]}
    )
    return images, thumbnails.dropna().reset_index(drop=True)


def test_the_real_study_has_120_groups_none_tied_by_near_duplicates(real):
    images, thumbnails = real
    groups = find_groups(images, thumbnails)
    assert groups["group_id"].nunique() == images["patient_id"].nunique() == 120
    assert (groups.set_index("image_id")["group_id"] == images.set_index("image_id")["patient_id"]).all()
    clusters = near_duplicate_clusters(images, thumbnails)
    assert images["patient_id"].groupby(clusters).nunique().max() == 1


def test_a_real_slice_saved_twice_under_another_patient_is_found(real):
    images, _ = real
    pixels = [read_image(Path(path)) for path in images["path"].iloc[[15, 60, 400, 900]]]
    copies, table = tables([*pixels, *(jpeg(one) for one in pixels)])
    clusters = near_duplicate_clusters(copies, table)
    assert clusters.tolist() == [f"s/{index}" for index in range(4)] * 2
