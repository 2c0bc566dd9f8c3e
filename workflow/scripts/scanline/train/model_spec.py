"""What describes a trained network: it travels inside model.pt as text. This module does not import torch."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to rebuild a trained network and feed it; a subclass says what that is.

    Its values are texts, numbers, and tuples of them.
    """

    def as_json(self) -> str:
        """The spec as text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `as_json` back.

        Raises:
            ValueError: If the text is no JSON.
            TypeError: If fields are missing or unknown.
        """
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(text).items()
        }
        return cls(**fields)
