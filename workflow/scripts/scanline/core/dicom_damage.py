"""What is wrong with a DICOM file, without a word of what stands in it.

pydicom's errors, warnings and log lines quote the values that they are about, and a damaged header may hold a name in
any element. So errors are told in words of our own, by their kind, and pydicom is silent while a file is read.
"""

import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.errors import BytesLengthException, InvalidDicomError

from scanline.core.images import ImageError

# What pydicom raises on bytes that are none of a file, and what that says; the first that fits counts.
DAMAGES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((InvalidDicomError,), "is none of DICOM"),
    ((EOFError,), "ends too early"),
    ((zlib.error,), "does not inflate"),
    ((BytesLengthException, struct.error), "has a value of a wrong length"),
    ((AttributeError, LookupError), "lacks an element"),
    ((ValueError, TypeError, ArithmeticError, NotImplementedError), "has a value that cannot be read"),
    ((RuntimeError,), "does not decode"),
)
DAMAGED = tuple(kind for kinds, _ in DAMAGES for kind in kinds)


@contextmanager
def damage_told(part: str = "its header") -> Iterator[None]:
    """Tell all that goes wrong with a DICOM file inside the block as an ImageError, and let pydicom say nothing.

    Args:
        part: Of the file, for the message.
    """
    try:
        with _SILENCE:
            yield
    except DAMAGED as error:
        raise ImageError(f"damaged DICOM: {part} {damage_of(error)}") from None


def damage_of(error: Exception) -> str:
    """What an error of pydicom says of the bytes, by its kind alone."""
    return next(words for kinds, words in DAMAGES if isinstance(error, kinds))


class _Silence:
    """No warning and no log line of pydicom while any thread is inside.

    Filters of warnings are of the whole process: the first thread in sets one, the last one out takes it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._logger = logging.getLogger("pydicom")
        self._filters: warnings.catch_warnings[None] | None = None
        self._was_disabled = False

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
                self._was_disabled, self._logger.disabled = self._logger.disabled, True

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._filters is not None:
                self._logger.disabled = self._was_disabled
                self._filters.__exit__(None, None, None)


_SILENCE = _Silence()
