"""The base of every typed piece of configuration, and how its errors read."""

import difflib
import json
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from scanline.core.errors import InputError


class Options(BaseModel):
    """A frozen piece of configuration: unknown keys are refused, every field has a description."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=Options)


def read_options(model: type[Model], text: str) -> Model:
    """Parse the JSON of a rule's `--options` into its model.

    Raises:
        InputError: If the text is no JSON or does not fit the model.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            "--options", found=f"{error}", expected="JSON", next_step="Quote the JSON as one argument."
        ) from error
    return check_options(model, values, "--options")


def check_options(model: type[Model], values: Any, where: str | Path) -> Model:
    """Validate `values` (from the file or place `where`) against the model.

    Raises:
        InputError: One line that names the place, the first wrong key, what was found and expected.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise explain_validation_error(error, model, values, where) from None


def explain_validation_error(
    error: ValidationError, model: type[BaseModel], values: Any, where: str | Path
) -> InputError:
    """Turn the first of pydantic's errors into one line with file, key, found, expected, next step."""
    first = error.errors()[0]
    location = _keys_of(first["loc"], values)
    key = ".".join(location) or "(top level)"
    more = f" ({error.error_count() - 1} more after it)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _sibling_keys(model, first["loc"])
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "See config/README.md."
        expected = f"one of {', '.join(sorted(known))}" if known else "no such key"
        return InputError(f"{where}: {key}", found="an unknown key", expected=expected, next_step=hint + more)
    if first["type"] == "missing":
        return InputError(f"{where}: {key}", found="nothing", expected="a value", next_step="Add this key." + more)
    found = "null" if first["input"] is None else json.dumps(first["input"], default=str)[:200]
    expected = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return InputError(f"{where}: {key}", found=found, expected=expected, next_step="See config/README.md." + more)


def _keys_of(location: tuple[int | str, ...], values: Any) -> list[str]:
    """The parts of an error's location that are keys of `values`; the rest name members of a union."""
    keys: list[str] = []
    for index, part in enumerate(location):
        is_last = index == len(location) - 1
        if isinstance(values, dict) and (part in values or is_last):
            keys.append(str(part))
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int) and part < len(values):
            keys.append(str(part))
            values = values[part]
    return keys


def _sibling_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys allowed beside the last part of an error's location, where the models tell them."""
    current = [model]
    for part in location[:-1]:
        fields = [one.model_fields[str(part)] for one in current if part in one.model_fields]
        if fields:
            current = _models_in(fields[0].annotation)
        elif len(current) > 1:  # of a union, the member that the tag names
            current = [one for one in current if part in _tags_of(one)] or current
    return list(current[0].model_fields) if len(current) == 1 else []


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation such as `dict[str, Model]` or `Model | None`, each once."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return list(dict.fromkeys(model for part in get_args(annotation) for model in _models_in(part)))


def _tags_of(model: type[BaseModel]) -> set[Any]:
    """The values that the literal fields of a model may have."""
    annotations = [field.annotation for field in model.model_fields.values()]
    return {value for one in annotations if get_origin(one) is Literal for value in get_args(one)}
