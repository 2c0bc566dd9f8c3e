"""What was installed where the rules ran, from the records of record_environment."""

from collections.abc import Mapping, Sequence
from typing import Any


def describe_environments(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each environment that differs from the others; in a virtual environment all rules share one.

    Args:
        records: Of record_environment.

    Returns:
        For each: `names`, of the environments that are alike, and `rules` that ran in them; `digest`, `python`,
        `platform`; `distributions`, each name with its version.
    """
    alike: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        alike.setdefault(record["digest"], []).append(record)
    return [
        {
            "names": [record["environment"] for record in same],
            "rules": [rule for record in same for rule in record["rules"]],
            **{name: same[0][name] for name in ("digest", "python", "platform")},
            "distributions": [f"{name} {version}" for name, version in same[0]["distributions"].items()],
        }
        for same in alike.values()
    ]
