"""Sizes, times and shares as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

_BARS = "▁▂▃▄▅▆▇█"
_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))

_PROBABILITY_STEPS = (0.7, 0.3, 0.08)


def probability_step(logprob: float | None) -> int:
    """0 for a token that was probable or of which nothing is known, up to 3 for a rare one."""
    if logprob is None:
        return 0
    return sum(math.exp(logprob) < least for least in _PROBABILITY_STEPS)


def percent(share: float) -> str:
    """A share as 12.3%; one that would be 0.0% as less than the smallest that is not."""
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def size(count: float) -> str:
    """Bytes in powers of ten: "512 B", "21.3 MB", "13.5 GB"."""
    for unit, worth in _UNITS:
        # What would be rounded up to 1000.0 belongs to the next unit.
        if count >= worth * 0.99995:
            return f"{count / worth:.1f} {unit}"
    return f"{count:.0f} B"


def progress_bar(share: float, cells: int) -> str:
    """A progress bar of ``cells`` cells; full only when ``share`` is 1."""
    full = int(cells * min(share, 1.0))
    return "━" * full + "╌" * (cells - full)


def sparkline(values: Sequence[float], low: float | None = None) -> str:
    """A row of bars of eight heights, from ``low`` (the least value if None) to the highest."""
    bottom = min(values) if low is None else low
    span = max(values) - bottom or 1.0
    return "".join(_BARS[round((value - bottom) / span * (len(_BARS) - 1))] for value in values)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: "0:07", "12:34", "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def local_time(epoch: float) -> datetime:
    """Seconds since the epoch in the local time zone; the nearest that a calendar has."""
    try:
        return datetime.fromtimestamp(epoch)
    except (ValueError, OverflowError, OSError):
        return datetime.min if epoch < 0 else datetime.max


def date_and_time(epoch: float) -> str:
    """Seconds since the epoch as local day and minute: "2026-11-29 08:30"."""
    return local_time(epoch).isoformat(" ", "minutes")
