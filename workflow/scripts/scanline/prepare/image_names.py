"""File names of images that leave their sources: `<source>_<patient>_<instance>`, distinct within a study."""

import re
from pathlib import PurePosixPath

import pandas as pd

from scanline.core.files import sha256_of_text
from scanline.core.privacy import pseudonym

UNKNOWN_PATIENT = "unknown"
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")
_DIGITS = 8


def name_images(images: pd.DataFrame, salt: str | None = None) -> pd.Series:
    """Name each image after its source, patient and instance.

    The instance is the stem of the image's file, without the source and patient that it may begin with. Two images
    that would so share a name both get a digest of their image_id behind it.

    Args:
        images: IMAGES table of n rows.
        salt: Where it is given, patient and instance are pseudonyms with this salt: stems often hold the patient.

    Returns:
        n names without suffix, by image_id; letters, digits, dots, dashes and underscores.
    """
    names = [_name(*row, salt) for row in zip(images["image_id"], images["source"], images["patient_id"], strict=True)]
    found = pd.Series(names, index=images["image_id"], dtype="str")
    twice = found.str.lower().duplicated(keep=False)  # some file systems do not tell cases apart
    digests = [sha256_of_text(image_id)[:_DIGITS] for image_id in found.index[twice]]
    found.loc[twice] = found.loc[twice] + "_" + pd.Series(digests, index=found.index[twice], dtype="str")
    return found


def _name(image_id: str, source: str, patient_id: str | None, salt: str | None) -> str:
    known = isinstance(patient_id, str)
    patient = _without(str(patient_id), source) if known else UNKNOWN_PATIENT
    instance = PurePosixPath(image_id).name
    if salt is not None:
        patient = pseudonym(str(patient_id), salt) if known else UNKNOWN_PATIENT
        instance = pseudonym(image_id, salt)
    instance = _without(_without(instance, source), patient)
    return "_".join(_OTHER.sub("-", part).strip("-") for part in (source, patient, instance))


def _without(name: str, start: str) -> str:
    """A name without what it begins with, with the colon, dash or underscore behind it."""
    return re.sub(rf"^{re.escape(start)}[:_-]", "", name, flags=re.IGNORECASE) or name
