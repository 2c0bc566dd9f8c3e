"""Times of calls, and how they are shown: ours first, the others with their ratios to it."""

import time
from collections.abc import Callable
from typing import Any


def timed(call: Callable[[], Any], rounds: int = 1) -> tuple[float, Any]:
    """Shortest time in seconds of some rounds, and the last result."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return min(times), result


def show(title: str, rows: list[tuple[str, float]], unit: str = "s", scale: float = 1.0) -> None:
    """Print times and how many times as long as ours each takes; ours stands first."""
    print(f"\n{title}")
    for name, seconds in rows:
        print(f"  {name:<58}{seconds * scale:>11.3f} {unit}{seconds / rows[0][1]:>10.1f}x")
