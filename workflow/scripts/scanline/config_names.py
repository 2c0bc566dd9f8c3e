"""Whether a name that a configuration uses is one of those it defines."""

import difflib
from collections.abc import Iterable

from scanline.core.errors import InputError


def check_known(where: str, name: str, names: Iterable[object]) -> None:
    """Check that a name is one of those there are.

    Raises:
        InputError: If it is not; it names the one that is spelled most like it.
    """
    defined = sorted(str(item) for item in names)
    if name not in defined:
        close = difflib.get_close_matches(name, defined, n=1)
        raise InputError(
            where,
            found=repr(name),
            expected=f"one of {', '.join(defined)}",
            next_step=f"Did you mean {close[0]!r}?" if close else "Define it or name another.",
        )
