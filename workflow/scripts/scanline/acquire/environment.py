"""What acquisition takes from environment variables: credentials, and whether it may use the network."""

import os
from urllib.parse import urlsplit

from scanline.acquire.fetched_options import LOOPBACK
from scanline.core.errors import InputError

OFFLINE = "SCANLINE_OFFLINE"
_used: set[str] = set()


def is_offline() -> bool:
    """Whether the variable SCANLINE_OFFLINE forbids the network.

    Raises:
        InputError: If it says neither yes nor no.
    """
    value = os.environ.get(OFFLINE, "").strip().lower()
    if value not in {"", "0", "false", "no", "1", "true", "yes"}:
        raise InputError(OFFLINE, found=repr(value), expected="1 or 0", next_step=f"Set it, or: unset {OFFLINE}")
    return value in {"1", "true", "yes"}


def credential(variable: str, where: str, how_to_get: str) -> str:
    """A secret out of an environment variable; it is never logged.

    Args:
        variable: Its name.
        where: What asks for it, for the message.
        how_to_get: One line that says where one gets it.

    Raises:
        InputError: If it is not set.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise InputError(where, found=f"no {variable} in the environment", expected="credentials", next_step=how_to_get)
    _used.add(value)
    return value


def without_secrets(text: str) -> str:
    """A text from elsewhere, with stars for every secret that this process has used."""
    for secret in sorted(_used, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def check_encrypted(url: str) -> None:
    """Check that a secret sent to an address cannot be read on its way.

    Raises:
        InputError: If the address is plain HTTP, and not of this machine.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise InputError(
            f"{parts.scheme}://{parts.hostname}",
            found="credentials for an address without encryption",
            expected="https://",
            next_step="Correct the address in the study file.",
        )


def listing_needs_network(where: str) -> InputError:
    """The line about a list that was never fetched, and may not be now."""
    return InputError(
        where,
        found="no list of its files from an earlier run",
        expected=f"one, as {OFFLINE} is set",
        next_step=f"Run once with the network: unset {OFFLINE}",
    )
