"""ModelScope, through its client (an extra), and the layout of its cache.

The client lists the files and knows the user's token; the contents are received by chatui itself,
so that there is one progress, one way to go on and one way to stop for both hubs.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from chatui.catalog.fetching.failures import hub_failure
from chatui.catalog.fetching.values import ListedFile, Listing, RepositoryPlan, WantedFile
from chatui.catalog.places import in_modelscope, modelscope_root
from chatui.errors import ChatuiError
from chatui.locales import say

if TYPE_CHECKING:
    import httpx2

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ModelScope:
    """The hub at modelscope.cn, at MODELSCOPE_ENDPOINT, or at a mirror that speaks as it does."""

    title = "ModelScope"

    def __init__(self, endpoint: str = "") -> None:
        self._asked = endpoint
        try:
            import modelscope_hub  # noqa: F401
        except ImportError as error:
            raise ChatuiError(say("fetching.no_modelscope")) from error

    @cached_property
    def _api(self) -> Any:
        from modelscope_hub import HubApi, HubConfig

        # It would write its own lines between ours.
        logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
        return HubApi(HubConfig(endpoint=self._asked or None))

    @property
    def endpoint(self) -> str:
        return str(self._api.legacy.endpoint).rstrip("/")

    def listing(self, hub_id: str, revision: str) -> Listing:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise ChatuiError(say("fetching.offline"))
        wanted = revision or "master"
        try:
            entries = self._api.list_repo_files(hub_id, "model", revision=wanted)
        except Exception as error:
            raise hub_failure(error, self, hub_id, revision) from error
        files = (
            ListedFile(entry.path, int(entry.size), str(entry.sha256 or "").lower())
            for entry in entries
            if entry.type != "tree"
        )
        known = tuple(file for file in files if _SHA256.fullmatch(file.sha256))
        return Listing(hub_id, wanted, wanted, known)

    def placed(self, listing: Listing, files: Sequence[ListedFile]) -> RepositoryPlan:
        """Where modelscope-hub puts them: ``models/owner--name/snapshots/revision``.

        A folder that an older client left is gone on with, as the newer client does.
        """
        root = modelscope_root()
        new = root / "models" / listing.hub_id.replace("/", "--") / "snapshots" / listing.revision
        folder = in_modelscope(listing.hub_id) or new
        return RepositoryPlan(
            hub_id=listing.hub_id,
            source="modelscope",
            endpoint=self.endpoint,
            folder=folder,
            files=tuple(
                WantedFile(
                    listed=file,
                    url=self._api.legacy.get_download_url(
                        listing.hub_id, "model", file.path, listing.revision
                    ),
                    content=folder / file.path,
                    pointer=folder / file.path,
                    lock=root / ".lock" / f"chatui_{_digest(folder / file.path)}.lock",
                )
                for file in files
            ),
        )

    def client(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(timeout=10)

    def headers(self) -> Mapping[str, str]:
        token = self._api.legacy.token
        return {"Cookie": f"m_session_id={token}"} if token else {}


def _digest(path: object) -> str:
    return hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]
