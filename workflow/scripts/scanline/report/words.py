"""Sentences of the report, made from what the files say."""

from collections.abc import Mapping, Sequence
from typing import Any

from scanline.figures.numbers import format_count, format_metric, format_share, format_value, spell

CLUSTERS = {
    "patient_id": ("patients", "Whole patients are drawn with replacement, each with all its images"),
    "group": ("groups", "Groups are drawn with replacement, as not every image names its patient"),
    "image_id": ("images", "Images are drawn with replacement one by one, as nothing ties them"),
}
RULES = {
    "f1": "It is the one with the highest F1",
    "youden": "It is the one with the highest sensitivity + specificity (Youden index)",
    "sensitivity": "It is the one that reaches a sensitivity of {target} at the highest specificity",
    "specificity": "It is the one that reaches a specificity of {target} at the highest sensitivity",
    "dice": "It is the one with the highest Dice of all pixels",
    "fixed": "It is fixed",
}
KEYS = {
    "patient_id": "patient",
    "volume_id": "volume",
    "sibling": "original (offline augmentations of one image)",
    "group_id": "group",
    "sha256": "file content",
    "near_duplicate": "picture (near-duplicates, confirmed on thumbnails)",
    "phash": "perceptual hash (a hint: different images can share one)",
}
_SHORT_KEYS = {
    "patient_id": "patient",
    "volume_id": "volume",
    "sibling": "original",
    "sha256": "file",
    "near_duplicate": "near-duplicate",
    "group_id": "group of images",
}


def name_interval(interval: Mapping[str, Any]) -> str:
    """The kind of intervals in a table, in a few words."""
    clusters = CLUSTERS.get(interval["clustered_by"], (spell(interval["clustered_by"]), ""))[0]
    return f"{_level(interval)} bootstrap intervals over {clusters}"


def explain_interval(interval: Mapping[str, Any]) -> str:
    """How the intervals were made."""
    unit = spell(interval["clustered_by"])
    how = CLUSTERS.get(interval["clustered_by"], ("", f"Clusters by {unit} are drawn with replacement"))[1]
    why = "."
    if interval["clustered_by"] != "image_id":
        why = ": their images are not independent, and intervals over single images would be too narrow."
    resamples = format_count(interval["resamples"])
    return (
        f"Brackets hold {_level(interval)} intervals from {resamples} bootstrap resamples of the subset"
        f" ({interval['method']} method). {how}{why}"
    )


def _level(interval: Mapping[str, Any]) -> str:
    return f"{100 * interval['level']:g}%"


def explain_threshold(metrics: Mapping[str, Any], names: Sequence[str]) -> str:
    """How the thresholds of some models were chosen."""
    if metrics["threshold_rule"] == "most_probable":
        return (
            f"An image is predicted to be of its most probable class; no threshold was chosen for {'; '.join(names)}."
        )
    rule = RULES.get(metrics["threshold_rule"], f"It is chosen by the rule {metrics['threshold_rule']}")
    rule = rule.format(target=format_value(metrics.get("threshold_target")))
    where = "" if metrics["threshold_rule"] == "fixed" else f" on {metrics['threshold_from']}"
    scaled = (
        " Before that, logits are divided by a temperature of least log loss on val: it changes how extreme"
        " probabilities are, and not their order."
        if metrics.get("temperature") is not None or any((metrics.get("temperatures") or {}).values())
        else ""
    )
    return (
        "An image, a pixel or a box is called positive when its probability reaches the model's threshold."
        f" {rule}{where}; then it is frozen and applied to test. Thresholds: {'; '.join(names)}.{scaled}"
    )


def explain_localization(localization: Mapping[str, Any] | None) -> str:
    """How the class activation maps of test compare with the boxes; empty without any."""
    if localization is None:
        return ""
    metrics = localization["metrics"]
    left_out = sum(localization["undefined"].values())
    ending = f" {format_count(left_out)} more have a map that is zero everywhere." if left_out else ""
    return (
        f"In {format_count(localization['measured'])} positive test images with a box, the maximum of the map lies in"
        f" the box, or within half a cell of the map, in {format_metric(metrics['pointing_game'])} of them (pointing"
        f" game; a random cell would in {format_value(metrics['pointing_chance']['value'])}), and"
        f" {format_metric(metrics['mass_inside'])} of the map's mass lies inside (an even map:"
        f" {format_value(metrics['lesion_share']['value'])}).{ending}"
    )


def place_threshold(metrics: Mapping[str, Any]) -> str:
    """Where the threshold comes from, to stand behind the word threshold."""
    if metrics["threshold_rule"] == "fixed":
        return "fixed beforehand"
    if metrics["threshold_rule"] == "most_probable":
        return "that makes a class the most probable one"
    return f"chosen beforehand on {metrics['threshold_from']}"


def name_threshold(metrics: Mapping[str, Any]) -> str:
    """A threshold, those of several labels, or why there is none."""
    if "thresholds" in metrics:
        return ", ".join(f"{spell(label)} {format_value(value)}" for label, value in metrics["thresholds"].items())
    if metrics["threshold_rule"] == "most_probable":
        return "the most probable class"
    threshold = metrics["threshold"]
    return format_value(threshold) if threshold is not None else "undefined"


def judge_split(receipt: Mapping[str, Any]) -> str:
    """Whether a split leaks, in plain words."""
    if receipt["leak_free"]:
        compared = {key: receipt["leaks"][key]["compared"] > 0 for key in _SHORT_KEYS}
        text = f"Leak-free: no {_listed(compared, True, 'or')} stands in two subsets."
        text += " The gate checked it before any training."
        if not all(compared.values()):
            text += f" Not known here, so not compared: {_listed(compared, False, 'and')}."
        if not (compared["patient_id"] or compared["volume_id"]):
            text += (
                " A group is a cluster of equal files and near-duplicates, and no more: two images of one patient may"
                " stand in two subsets."
            )
        return text
    leaks = {key: receipt["leaks"][key] for key in KEYS if key in receipt["leaks"] and key != "phash"}
    key = max(leaks, key=lambda name: leaks[name]["test_images"])  # the first of equals: the patient
    leak = leaks[key]
    return (
        f"This split leaks: {format_count(leak['test_images'])} test images"
        f" ({format_share(leak['test_images_share'])}) share their {KEYS.get(key, spell(key))} with train. It"
        " stands here to show what that is worth; its figures say nothing about new patients."
    )


def _listed(compared: Mapping[str, bool], which: bool, word: str) -> str:
    """The keys that were compared, or those that were not: a, b or c."""
    *first, last = [_SHORT_KEYS[key] for key, known in compared.items() if known is which]
    return f"{', '.join(first)} {word} {last}" if first else last
