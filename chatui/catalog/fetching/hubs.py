"""Hugging Face and ModelScope, through their own clients, and the layouts of their caches.

The clients list the files and supply the user's token. The contents are downloaded by chatui, which
resumes, cancels, checks and reports the progress for both hubs alike (huggingface_hub 2 deletes the
received part of an interrupted download). Hugging Face's cache is shared by all programs
(https://huggingface.co/docs/huggingface_hub/guides/manage-cache): contents are in ``blobs``, named
by their hashes, and each commit is a folder of links in ``snapshots``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from chatui.catalog.fetching.hub import (
    Hub,
    ListedFile,
    PlannedFile,
    RepositoryListing,
    RepositoryPlan,
    Source,
)
from chatui.catalog.local_models import hugging_face_cache, modelscope_folder, modelscope_root
from chatui.errors import ChatuiError
from chatui.locales import say

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

LIST_TIMEOUT_SECONDS = 20.0
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def hub_of(source: Source, endpoint: str = "") -> Hub:
    """Return a hub.

    Args:
        endpoint: address of a mirror; "" for the hub's own.

    Raises:
        ChatuiError: the hub's client is not installed, or offline mode is on.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise ChatuiError(say("fetching.offline"))
    return HuggingFace(endpoint) if source == "hf" else ModelScope(endpoint)


class HuggingFace(Hub):
    """The hub at huggingface.co, HF_ENDPOINT, or a mirror with the same protocol."""

    source = "hf"
    title = "Hugging Face"

    def __init__(self, endpoint: str = "") -> None:
        endpoint = endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        self.endpoint = endpoint.rstrip("/")

    def listing(self, hub_id: str, revision: str) -> RepositoryListing:
        from huggingface_hub import HfApi

        # Its log would appear between chatui's lines and on the screen.
        logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
        api = HfApi(endpoint=self.endpoint)
        wanted = revision or "main"
        try:
            # The client's other functions that list files have no timeout.
            info = api.model_info(
                hub_id, revision=wanted, timeout=LIST_TIMEOUT_SECONDS, files_metadata=True
            )
            commit = info.sha or ""
            if not _SHA1.fullmatch(commit):
                raise ChatuiError(say("fetching.no_hub", endpoint=self.address))
        except Exception as error:
            raise self.error_for(error, hub_id, revision) from error
        listed = map(_listed_file, info.siblings or ())
        files = tuple(file for file in listed if file is not None)
        return RepositoryListing(hub_id, wanted, commit, files, dict(info.config or {}))

    def plan_files(self, listing: RepositoryListing, files: Sequence[ListedFile]) -> RepositoryPlan:
        cache = hugging_face_cache()
        name = f"models--{listing.hub_id.replace('/', '--')}"
        folder = cache / name / "snapshots" / listing.commit
        url = f"{self.endpoint}/{listing.hub_id}/resolve/{listing.commit}/"
        is_branch = listing.revision != listing.commit and ".." not in listing.revision
        wanted = (
            PlannedFile(
                listed=file,
                url=url + quote(file.path),
                content=cache / name / "blobs" / file.digest,
                pointer=folder / file.path,
                lock=cache / ".locks" / name / f"{file.digest}.lock",
            )
            for file in files
        )
        reference = cache / name / "refs" / listing.revision if is_branch else None
        return RepositoryPlan(
            self, listing.hub_id, folder, tuple(wanted), reference, listing.commit
        )

    def headers(self) -> Mapping[str, str]:
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers: dict[str, str] = build_hf_headers(library_name="chatui")
        return headers


def _listed_file(file: RepoSibling) -> ListedFile | None:
    """Convert a listed file; None if its hash, which becomes a file's name, is malformed."""
    size, digest, pattern = file.size, file.blob_id, _SHA1
    if file.lfs:
        size, digest, pattern = file.lfs.size, file.lfs.sha256, _SHA256
    if size is None or not pattern.fullmatch(digest or ""):
        return None
    return ListedFile(file.rfilename, size, str(digest))


class ModelScope(Hub):
    """The hub at modelscope.cn, MODELSCOPE_ENDPOINT, or a mirror with the same protocol."""

    source = "modelscope"
    title = "ModelScope"

    def __init__(self, endpoint: str = "") -> None:
        try:
            from modelscope_hub import HubApi, HubConfig
        except ImportError as error:
            raise ChatuiError(say("fetching.no_modelscope")) from error
        # Its log would appear between chatui's lines and on the screen.
        logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
        self._api = HubApi(HubConfig(endpoint=endpoint or None))
        self.endpoint = str(self._api.legacy.endpoint).rstrip("/")

    def listing(self, hub_id: str, revision: str) -> RepositoryListing:
        wanted = revision or "master"
        try:
            entries = self._api.list_repo_files(hub_id, "model", revision=wanted)
        except Exception as error:
            raise self.error_for(error, hub_id, revision) from error
        files = (
            ListedFile(entry.path, int(entry.size), str(entry.sha256 or "").lower())
            for entry in entries
            if entry.type != "tree"
        )
        known = tuple(file for file in files if _SHA256.fullmatch(file.digest))
        return RepositoryListing(hub_id, wanted, wanted, known)

    def plan_files(self, listing: RepositoryListing, files: Sequence[ListedFile]) -> RepositoryPlan:
        """Use modelscope-hub's paths: ``models/owner--name/snapshots/revision``.

        An existing folder of an older client is completed, as modelscope-hub does.
        """
        root = modelscope_root()
        new = root / "models" / listing.hub_id.replace("/", "--") / "snapshots" / listing.revision
        folder = modelscope_folder(listing.hub_id) or new
        url_of = self._api.legacy.get_download_url
        wanted = (
            PlannedFile(
                listed=file,
                url=url_of(listing.hub_id, "model", file.path, listing.revision),
                content=folder / file.path,
                pointer=folder / file.path,
                lock=modelscope_lock(folder / file.path),
            )
            for file in files
        )
        return RepositoryPlan(self, listing.hub_id, folder, tuple(wanted))

    def headers(self) -> Mapping[str, str]:
        token = self._api.legacy.token
        return {"Cookie": f"m_session_id={token}"} if token else {}


def modelscope_lock(content: Path) -> Path:
    """Return the path of the lock that is held while ``content`` is fetched from ModelScope."""
    digest = hashlib.sha256(str(content).encode("utf-8", "surrogateescape")).hexdigest()
    return modelscope_root() / ".lock" / f"chatui_{digest[:32]}.lock"
