"""Hugging Face's hub, through huggingface_hub, and the layout of its cache.

The cache is the one that all programs share
(https://huggingface.co/docs/huggingface_hub/guides/manage-cache): contents in ``blobs``, named by
their hashes, and for each commit a folder of links in ``snapshots``. huggingface_hub 2 throws away
what an interrupted download has received, so the contents are received by chatui itself.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from chatui.catalog.fetching.failures import hub_failure
from chatui.catalog.fetching.hub import shown
from chatui.catalog.fetching.values import ListedFile, Listing, RepositoryPlan, WantedFile
from chatui.catalog.places import hugging_face_cache
from chatui.errors import ChatuiError
from chatui.locales import say

if TYPE_CHECKING:
    import httpx2

LIST_SECONDS = 20.0
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HuggingFace:
    """The hub at huggingface.co, at HF_ENDPOINT, or at a mirror that speaks as it does."""

    title = "Hugging Face"

    def __init__(self, endpoint: str = "") -> None:
        self.endpoint = (
            endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        ).rstrip("/")

    def listing(self, hub_id: str, revision: str) -> Listing:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.hf_api import RepoFile

        # It would write its own lines between ours, and over the screen.
        logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
        if constants.is_offline_mode():
            raise ChatuiError(say("fetching.offline"))
        # huggingface_hub waits for ever for a hub that accepts and then is silent.
        self.client().timeout = LIST_SECONDS
        api = HfApi(endpoint=self.endpoint)
        wanted = revision or "main"
        try:
            told = api.model_info(hub_id, revision=wanted, timeout=LIST_SECONDS)
            commit = told.sha or ""
            if not _COMMIT.fullmatch(commit):
                raise ChatuiError(say("fetching.no_hub", endpoint=shown(self.endpoint)))
            entries = list(api.list_repo_tree(hub_id, recursive=True, revision=commit))
        except ChatuiError:
            raise
        except Exception as error:
            raise hub_failure(error, self, hub_id, revision) from error
        files = [_listed(entry) for entry in entries if isinstance(entry, RepoFile)]
        return Listing(
            hub_id,
            wanted,
            commit,
            tuple(file for file in files if file.sha256 or file.git_blob),
            dict(told.config or {}),
        )

    def placed(self, listing: Listing, files: Sequence[ListedFile]) -> RepositoryPlan:
        cache = hugging_face_cache()
        name = f"models--{listing.hub_id.replace('/', '--')}"
        folder = cache / name / "snapshots" / listing.commit
        is_branch = listing.revision != listing.commit and ".." not in listing.revision
        return RepositoryPlan(
            hub_id=listing.hub_id,
            source="hf",
            endpoint=self.endpoint,
            folder=folder,
            files=tuple(
                WantedFile(
                    listed=file,
                    url=f"{self.endpoint}/{listing.hub_id}/resolve/{listing.commit}/"
                    + quote(file.path),
                    content=cache / name / "blobs" / (file.sha256 or file.git_blob),
                    pointer=folder / file.path,
                    lock=cache / ".locks" / name / f"{file.sha256 or file.git_blob}.lock",
                )
                for file in files
            ),
            reference=cache / name / "refs" / listing.revision if is_branch else None,
            commit=listing.commit,
        )

    def client(self) -> httpx2.Client:
        from huggingface_hub import get_session

        return get_session()

    def headers(self) -> Mapping[str, str]:
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers: dict[str, str] = build_hf_headers(library_name="chatui")
        return headers


def _listed(entry: object) -> ListedFile:
    """A file of the tree, its hashes only where they look like hashes: they become file names."""
    lfs = getattr(entry, "lfs", None)
    sha256 = str(lfs.sha256) if lfs else ""
    blob = str(getattr(entry, "blob_id", ""))
    return ListedFile(
        path=str(getattr(entry, "path", "")),
        size_bytes=int(lfs.size if lfs else getattr(entry, "size", 0)),
        sha256=sha256 if _SHA256.fullmatch(sha256) else "",
        git_blob=blob if not lfs and _COMMIT.fullmatch(blob) else "",
    )
