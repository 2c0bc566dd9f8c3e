"""Boxes that a CSV holds as text: a dictionary as Python or JSON writes it, as exports of MD.ai do."""

import ast
import math

SIDES = ("x", "y", "width", "height")
LONGEST = 500  # characters of a box; four numbers are about 100


def read_sides(text: str) -> tuple[float, float, float, float] | None:
    """x, y, width and height out of a dictionary as Python or JSON writes it; None where it is none.

    Only literals are read and nothing is called (`ast.literal_eval`), and a text too long to be a box is not looked at.
    """
    if len(text) > LONGEST:
        return None
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    numbers = [values.get(name) for name in SIDES]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        return None
    try:
        x, y, width, height = (float(number) for number in numbers if number is not None)
    except OverflowError:
        return None
    return (x, y, width, height) if all(map(math.isfinite, (x, y, width, height))) else None
