"""The page of a receipt: what the JSON says, no more and no less."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from split_cohorts import grouped, naive, random_cohort

from scanline.core.errors import InputError
from scanline.core.tables import THUMBNAILS, write_table
from scanline.report.options import ReceiptOptions
from scanline.report.page import embed_grey, render
from scanline.report.receipt import describe_receipt
from scanline.split.groups import find_groups
from scanline.split.naive import assign_naive_image
from scanline.split.options import target_ratios
from scanline.split.protocols import assign_split
from scanline.split.receipt import describe_balance
from scanline.split.verify import count_naive_leaks, verify_split

REPOSITORY = Path(__file__).parents[2]
POLICIES = {"train": {"method": "undersample", "reduce": "not bleed", "against": "bleed", "ratio": 1.5}}


def options_of(split, **changes):
    return ReceiptOptions.model_validate(
        {"study": "heads", "phantom": False, "split": split, "protocol": split, **changes}
    )


def thumbnails_of(images):
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, 1024, np.uint8).tobytes() for _ in range(len(images))]
    return pd.DataFrame({"image_id": images["image_id"], "thumbnail": pixels})


@pytest.fixture(scope="module")
def cohort():
    images, labels = random_cohort(1)
    one = images["patient_id"].iloc[0]
    hashes = [f"{index:x}" * 16 if patient == one else None for index, patient in enumerate(images["patient_id"])]
    images["phash"] = pd.Series([None if value is None else value[:16].zfill(16) for value in hashes], dtype="str")
    return images, labels, find_groups(images)


@pytest.fixture(scope="module")
def grouped_receipt(cohort):
    images, labels, groups = cohort
    options = grouped().model_copy(update={"policies": {}})
    options = type(options).model_validate({**options.model_dump(), "policies": POLICIES})
    split = assign_split(images, groups, labels, options)
    thumbnails = thumbnails_of(images[images["phash"].notna()])
    receipt = verify_split(images, groups, labels, split, target_ratios(options), thumbnails)
    return receipt | describe_balance(images, labels, split, options)


def page_of(options, receipt, thumbnails):
    return render("receipt.html.j2", describe_receipt(options, receipt, thumbnails))


def test_every_number_of_the_receipt_stands_on_the_page(cohort, grouped_receipt):
    page = page_of(options_of("grouped"), grouped_receipt, thumbnails_of(cohort[0]))
    assert "leak-free" in page
    for subset in grouped_receipt["subsets"].values():
        for key in ("images", "groups", "patients"):
            assert f"<td>{subset[key]:,}</td>" in page
        for label in subset["labels"].values():
            assert f"<td>{label['positive']:,}<span" in page
            assert f"{100 * label['prevalence']:.1f}%" in page
    for counted in ("images", "groups"):
        assert f"{100 * grouped_receipt['objective'][counted]['worst']:.3f}%" in page
    policy = grouped_receipt["policies"]["train"]
    assert f'<th scope="row">train: undersample</th><td>{policy["dropped"]:,}</td>' in page
    assert f"{policy['ratio']:.2f}" in page
    assert not re.search(r"https?://|<script", page)


def test_the_deviation_beside_a_prevalence_is_relative_to_all(cohort, grouped_receipt):
    page = page_of(options_of("grouped"), grouped_receipt, thumbnails_of(cohort[0]))
    counts = [subset["labels"]["bleed"] for subset in grouped_receipt["subsets"].values()]
    overall = sum(c["positive"] for c in counts) / sum(c["positive"] + c["negative"] for c in counts)
    for count in counts:
        text = f"({100 * (count['prevalence'] / overall - 1):+.2f}%)".replace("-", "−")
        assert text.replace("+", "&#43;") in page or text in page


def test_a_naive_split_says_how_much_it_leaks(cohort):
    images, labels, groups = cohort
    split = assign_naive_image(groups, naive())
    thumbnails = thumbnails_of(images[images["phash"].notna()])
    receipt = count_naive_leaks(images, groups, labels, split, naive().ratios, thumbnails)
    page = page_of(options_of("naive_image"), receipt, thumbnails)
    assert ">leaks<" in page
    leak = receipt["leaks"]["patient_id"]
    assert f"<td>{leak['shared']:,}</td><td>{leak['test_images']:,} (" in page
    assert "Deviations from target" not in page


def test_the_nearest_pairs_are_shown_as_they_are(cohort, grouped_receipt):
    thumbnails = thumbnails_of(cohort[0]).iloc[:2]
    one, other = thumbnails["image_id"]
    pair = {"images": [one, other], "subsets": ["train", "test"], "correlation": 0.9123}
    page = page_of(options_of("grouped"), grouped_receipt | {"nearest_pairs": [pair]}, thumbnails)
    assert f"0.912: {one} in train, {other} in test" in page
    shown = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in shown]
    assert [one.tobytes() for one in pixels] == thumbnails["thumbnail"].tolist()
    with pytest.raises(InputError, match="no thumbnail of"):
        page_of(options_of("grouped"), grouped_receipt | {"nearest_pairs": [pair]}, thumbnails.iloc[:1])


def test_a_picture_of_any_shape_and_a_receipt_of_another_protocol(cohort, grouped_receipt):
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    source = embed_grey(pixels.tobytes(), 5, 3, "steps").source
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))) == pixels).all()
    with pytest.raises(InputError, match="protocol: found grouped; expected kfold"):
        describe_receipt(options_of("kfold"), grouped_receipt, thumbnails_of(cohort[0]))


def test_the_script_writes_the_page(cohort, grouped_receipt, tmp_path):
    (tmp_path / "receipt.json").write_text(json.dumps(grouped_receipt), "utf-8")
    write_table(thumbnails_of(cohort[0]), tmp_path / "thumbnails.parquet", THUMBNAILS)
    command = [sys.executable, "workflow/scripts/write_receipt.py", "--receipt", str(tmp_path / "receipt.json")]
    command += ["--thumbnails", str(tmp_path / "thumbnails.parquet"), "--page", str(tmp_path / "receipt.html")]
    command += ["--options", options_of("grouped").model_dump_json()]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    assert "Receipt of the split grouped" in (tmp_path / "receipt.html").read_text("utf-8")
