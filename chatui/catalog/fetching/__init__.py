"""From a hub onto this disk: what a model needs, fetched so that it can be gone on with."""

from chatui.catalog.fetching.fetch import Fetch, fetch
from chatui.catalog.fetching.planning import plan
from chatui.catalog.fetching.removing import Removal, plan_removal, remove
from chatui.catalog.fetching.values import (
    Fetched,
    FetchEvent,
    FetchNote,
    FetchPlan,
    FetchProgress,
    FetchStopped,
    Source,
)

__all__ = [
    "Fetch",
    "FetchEvent",
    "FetchNote",
    "FetchPlan",
    "FetchProgress",
    "FetchStopped",
    "Fetched",
    "Removal",
    "Source",
    "fetch",
    "plan",
    "plan_removal",
    "remove",
]
