"""ModelScope, through its client (an extra), and the layout of its cache.

The client lists the files and knows the user's token; the contents are received by chatui itself,
so both hubs have the same progress, the same way to resume and the same way to stop.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from chatui.catalog.fetching.hub import Hub, ListedFile, Listing, RepositoryPlan, WantedFile
from chatui.catalog.places import in_modelscope, modelscope_root
from chatui.errors import ChatuiError
from chatui.locales import say

if TYPE_CHECKING:
    import httpx2

_SHA256 = re.compile(r"[0-9a-f]{64}")


class ModelScope(Hub):
    """The hub at modelscope.cn, at MODELSCOPE_ENDPOINT, or at a mirror that speaks as it does."""

    source = "modelscope"
    title = "ModelScope"

    def __init__(self, endpoint: str = "") -> None:
        try:
            from modelscope_hub import HubApi, HubConfig
        except ImportError as error:
            raise ChatuiError(say("fetching.no_modelscope")) from error
        # It would write its own lines between ours.
        logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
        self._api = HubApi(HubConfig(endpoint=endpoint or None))
        self.endpoint = str(self._api.legacy.endpoint).rstrip("/")

    def listing(self, hub_id: str, revision: str) -> Listing:
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise ChatuiError(say("fetching.offline"))
        wanted = revision or "master"
        try:
            entries = self._api.list_repo_files(hub_id, "model", revision=wanted)
        except Exception as error:
            raise self.failure(error, hub_id, revision) from error
        files = (
            ListedFile(entry.path, int(entry.size), str(entry.sha256 or "").lower())
            for entry in entries
            if entry.type != "tree"
        )
        known = tuple(file for file in files if _SHA256.fullmatch(file.digest))
        return Listing(hub_id, wanted, wanted, known)

    def placed(self, listing: Listing, files: Sequence[ListedFile]) -> RepositoryPlan:
        """Paths as modelscope-hub has them: ``models/owner--name/snapshots/revision``.

        A folder that an older client left is gone on with, as the newer client does.
        """
        root = modelscope_root()
        new = root / "models" / listing.hub_id.replace("/", "--") / "snapshots" / listing.revision
        folder = in_modelscope(listing.hub_id) or new
        url_of = self._api.legacy.get_download_url
        wanted = (
            WantedFile(
                listed=file,
                url=url_of(listing.hub_id, "model", file.path, listing.revision),
                content=folder / file.path,
                pointer=folder / file.path,
                lock=root / ".lock" / f"chatui_{_digest(folder / file.path)}.lock",
            )
            for file in files
        )
        return RepositoryPlan(self, listing.hub_id, folder, tuple(wanted))

    @cached_property
    def _client(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(timeout=10)

    def client(self) -> httpx2.Client:
        return self._client

    def headers(self) -> Mapping[str, str]:
        token = self._api.legacy.token
        return {"Cookie": f"m_session_id={token}"} if token else {}


def _digest(path: object) -> str:
    return hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]
