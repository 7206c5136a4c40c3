"""Format sizes, times, shares and bars for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

_BAR_HEIGHTS = "▁▂▃▄▅▆▇█"
_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))

_PROBABILITY_LIMITS = (0.7, 0.3, 0.08)


def probability_step(logprob: float | None) -> int:
    """Return 0 for a probable token, or one of unknown probability, up to 3 for a rare one."""
    if logprob is None:
        return 0
    return sum(math.exp(logprob) < least for least in _PROBABILITY_LIMITS)


def percent(share: float) -> str:
    """Format a share as 12.3%; a share that would be rounded to 0.0% becomes <0.1%."""
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def size(count: float) -> str:
    """Format a number of bytes in decimal units: "512 B", "21.3 MB", "13.5 GB"."""
    for unit, factor in _UNITS:
        # A value that would be rounded up to 1000.0 has the next unit.
        if count >= factor * 0.99995:
            return f"{count / factor:.1f} {unit}"
    return f"{count:.0f} B"


def progress_bar(share: float, cells: int) -> str:
    """Return a progress bar of ``cells`` cells, which is full only if ``share`` is 1."""
    full = int(cells * min(share, 1.0))
    return "━" * full + "╌" * (cells - full)


def sparkline(values: Sequence[float], low: float | None = None) -> str:
    """Return a row of bars of eight heights, from ``low`` (None: the minimum) to the maximum."""
    bottom = min(values) if low is None else low
    span = max(values) - bottom or 1.0
    return "".join(
        _BAR_HEIGHTS[round((value - bottom) / span * (len(_BAR_HEIGHTS) - 1))] for value in values
    )


def duration(seconds: float) -> str:
    """Format seconds as "0:07", "12:34" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def local_time(epoch: float) -> datetime:
    """Convert seconds since the epoch to local time; clamp to the dates Python supports."""
    try:
        return datetime.fromtimestamp(epoch)
    except (ValueError, OverflowError, OSError):
        return datetime.min if epoch < 0 else datetime.max


def date_and_time(epoch: float) -> str:
    """Format seconds since the epoch as local date and time: "2026-11-29 08:30"."""
    return local_time(epoch).isoformat(" ", "minutes")
