"""How numbers are written in figures and reports: one way everywhere."""

from collections.abc import Mapping
from typing import Any

UNDEFINED = "undefined"


def format_value(value: float | None, decimals: int = 3) -> str:
    """A number with a fixed count of decimals, or `undefined`."""
    return UNDEFINED if value is None else f"{value:.{decimals}f}".replace("-", "−")


def format_interval(low: float | None, high: float | None, decimals: int = 3) -> str:
    """An interval as `[low, high]`; `[no interval]` where it could not be computed."""
    if low is None or high is None:
        return "[no interval]"
    return f"[{format_value(low, decimals)}, {format_value(high, decimals)}]"


def format_metric(metric: Mapping[str, Any] | None, decimals: int = 3) -> str:
    """A metric of metrics.json as `value [low, high]`, or `undefined: reason`."""
    if metric is None:
        return f"{UNDEFINED}: not computed"
    if metric["value"] is None:
        return f"{UNDEFINED}: {metric.get('reason') or 'no reason given'}"
    interval = format_interval(metric.get("low"), metric.get("high"), decimals)
    return f"{format_value(metric['value'], decimals)} {interval}"


def format_difference(metric: Mapping[str, Any] | None, decimals: int = 3) -> tuple[str, str]:
    """A difference with signs: `+value` and `[low, high]`, or `undefined: reason` and an empty text."""
    if metric is None or metric["value"] is None:
        return format_metric(metric, decimals), ""
    low, high = metric.get("low"), metric.get("high")
    interval = (
        "[no interval]" if low is None or high is None else f"[{_signed(low, decimals)}, {_signed(high, decimals)}]"
    )
    return _signed(metric["value"], decimals), interval


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")


def format_count(count: int | None) -> str:
    """A whole number with thousands separated by commas."""
    return UNDEFINED if count is None else f"{count:,}"


def format_share(share: float | None, decimals: int = 1) -> str:
    """A share of 1 as a percentage.

    A share that is neither 0 nor 1 is never printed as 0% or 100%: it reads `<0.1%` or `>99.9%` instead.
    """
    if share is None:
        return UNDEFINED
    text = f"{100 * share:.{decimals}f}%"
    step = 10.0**-decimals
    if share > 0 and float(text[:-1]) == 0:
        return f"<{step:.{decimals}f}%"
    if share < 1 and float(text[:-1]) == 100:
        return f">{100 - step:.{decimals}f}%"
    return text


def format_seconds(seconds: float | None) -> str:
    """A duration as `7.5 s`, `3 min 20 s` or `2 h 5 min`."""
    if seconds is None:
        return UNDEFINED
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def spell(name: str) -> str:
    """A name of the configuration as words: underscores become spaces."""
    return name.replace("_", " ")
