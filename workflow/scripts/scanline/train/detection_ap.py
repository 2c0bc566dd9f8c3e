"""Average precision on val while training, for history and early stopping; evaluate measures the study's numbers."""

import logging
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from scanline.train.boxes import xywh_from_corners
from scanline.train.detection import MAX_DETECTIONS, Detections, DetectionSamples

logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)  # it reports each of its steps


def average_precision(samples: DetectionSamples, found: list[Detections]) -> dict[str, float]:
    """COCO's AP at IoU 0.5 and its mean over IoU 0.5 to 0.95, over the classes that have boxes.

    A detection of a class that is unknown on its image is neither right nor wrong, and does not count.

    Boxes are compared in cache pixels: where the cache changed the aspect ratio, IoU is the same, as it does not
    depend on the scale of either axis.

    Args:
        samples: The images, n of them.
        found: What was found on each, in the same order.

    Returns:
        `ap50` and `ap50_95`, in [0, 1].
    """
    truth: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image, (boxes, classes, finds) in enumerate(zip(samples.boxes, samples.classes, found, strict=True), start=1):
        for box, number in zip(xywh_from_corners(boxes), classes, strict=True):
            area = float(box[2] * box[3])
            row = {"image_id": image, "category_id": int(number), "bbox": box.tolist(), "area": area, "iscrowd": 0}
            truth.append({"id": len(truth) + 1, **row})
        for box, number, score in zip(xywh_from_corners(finds.boxes), finds.classes, finds.scores, strict=True):
            if samples.known is None or samples.known[image - 1, number - 1]:
                detections.append(
                    {"image_id": image, "category_id": int(number), "bbox": box.tolist(), "score": float(score)}
                )
    if not truth or not detections:
        return {"ap50": 0.0, "ap50_95": 0.0}
    numbers = sorted({row["category_id"] for row in truth} | {row["category_id"] for row in detections})
    side = samples.image_size_px
    images = [{"id": image, "width": side, "height": side} for image in range(1, len(samples) + 1)]
    categories = [{"id": number, "name": str(number)} for number in numbers]
    reference = COCO({"images": images, "annotations": truth, "categories": categories})
    evaluation = COCOeval_faster(reference, reference.loadRes(detections), "bbox")
    evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[..., 0, -1]  # IoU, recall, class; -1 where undefined
    by_threshold = [float(values[values > -1].mean()) for values in precision]
    return {"ap50": by_threshold[0], "ap50_95": float(np.mean(by_threshold))}
