"""What a job runs with: Python, the installed distributions, the project's commit."""

import platform
import re
import subprocess
import sysconfig
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from scanline.core.files import sha256_of_text

DIGITS = 16


def package_versions(*names: str) -> dict[str, str]:
    """Versions of Python and of the named packages that are installed."""
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


@cache
def describe_environment() -> dict[str, Any]:
    """What is installed where this process runs.

    Returns:
        `python`; `platform` (operating system and processor, without the kernel, which differs between the nodes of
        a cluster); `distributions`, versions by normalised name (PEP 503), those that Python would import; and
        `digest`, 16 hexadecimal digits over all of these, equal where nothing differs.
    """
    found: dict[str, str] = {}
    for distribution in distributions():
        name, number = (distribution.metadata[field] for field in ("Name", "Version"))
        if name and number:  # neither stands in what a broken installation leaves behind
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), number)
    facts = {
        "python": platform.python_version(),
        "platform": sysconfig.get_platform(),
        "distributions": dict(sorted(found.items())),
    }
    return {**facts, "digest": sha256_of_text(repr(facts))[:DIGITS]}


def git_commit() -> str | None:
    """The commit of the checkout that this code runs from; None outside a repository or without git."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
