"""Hugging Face and ModelScope, through their own clients, and the layouts of their caches.

The clients list the files and supply the user's token. The contents are downloaded by chatui, which
resumes, cancels, checks and reports the progress for both hubs alike. huggingface_hub 2.4 deletes
the received part of an interrupted download, loses up to 10 MB at each broken connection, and fails
with a RecursionError after some 490 of them. Hugging Face's cache is shared by all programs
(https://huggingface.co/docs/huggingface_hub/guides/manage-cache): contents are in ``blobs``, named
by their hashes, and each commit is a folder of links in ``snapshots``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

from chatui.catalog.fetching.hub_errors import hub_error
from chatui.catalog.local_models import hugging_face_cache, modelscope_folder, modelscope_root
from chatui.errors import ChatuiError
from chatui.locales import say

Source = Literal["hf", "modelscope"]

LIST_TIMEOUT_SECONDS = 20.0
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, with its paths on this disk.

    Attributes:
        path: path in the repository, with "/" as separator.
        digest: hexadecimal SHA-256 of its content, or SHA-1 of its git blob.
        url: address of its content.
        content: path of the complete content.
        pointer: path that programs read: a link to ``content``, or the same path.
        lock: path of the lock that is held while it is fetched.
    """

    path: str
    size_bytes: int
    digest: str
    url: str
    content: Path
    pointer: Path
    lock: Path

    @property
    def partial(self) -> Path:
        """Path of the received part."""
        return self.content.with_name(f"{self.content.name}.incomplete")

    @property
    def is_complete(self) -> bool:
        """Whether the complete content is on this disk, by its size."""
        return _size(self.content) == self.size_bytes or self.is_linked

    @property
    def is_linked(self) -> bool:
        """Whether ``pointer`` leads to the complete content."""
        return _size(self.pointer) == self.size_bytes

    @property
    def kept_bytes(self) -> int:
        """Bytes that need not be fetched again."""
        if self.is_complete:
            return self.size_bytes
        kept = max(_size(self.partial), 0)
        return kept if kept <= self.size_bytes else 0


@dataclass(frozen=True)
class Repository:
    """A repository as a hub lists it.

    Attributes:
        hub_id: "owner/name".
        folder: folder of the files for programs.
        reference: file in the cache that holds the commit of a branch; None if there is none.
        commit: commit to write into ``reference``.
        config: the hub's excerpt of the model's config.json; may be empty.
    """

    hub: Hub
    hub_id: str
    folder: Path
    files: tuple[HubFile, ...]
    reference: Path | None = None
    commit: str = ""
    config: dict[str, Any] = field(default_factory=dict)


class Hub(ABC):
    """A model hub.

    Attributes:
        title: shown name.
        endpoint: address, without "/" at the end.
    """

    source: ClassVar[Source]
    title: ClassVar[str]
    endpoint: str

    @abstractmethod
    def repository(self, hub_id: str, revision: str) -> Repository:
        """List the files of a repository, with their paths in the hub's cache.

        Args:
            revision: branch, tag or commit; "" for the default branch.

        Raises:
            ChatuiError: the repository does not exist or is private, or the hub cannot be reached.
        """

    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """Return the headers of a request for a file; they contain the user's token."""

    @property
    def address(self) -> str:
        """The endpoint for display, without a password."""
        return urlsplit(self.endpoint)._replace(netloc=self.host).geturl()

    @property
    def host(self) -> str:
        """Host and port, for display."""
        return urlsplit(self.endpoint).netloc.rpartition("@")[2]


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
    # The clients' logs would appear between chatui's lines and on the screen.
    for client in ("huggingface_hub", "modelscope_hub"):
        logging.getLogger(client).setLevel(logging.CRITICAL)
    return HuggingFace(endpoint) if source == "hf" else ModelScope(endpoint)


class HuggingFace(Hub):
    """The hub at huggingface.co, HF_ENDPOINT, or a mirror with the same protocol."""

    source = "hf"
    title = "Hugging Face"

    def __init__(self, endpoint: str = "") -> None:
        endpoint = endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        self.endpoint = endpoint.rstrip("/")

    def repository(self, hub_id: str, revision: str) -> Repository:
        from huggingface_hub import HfApi

        wanted = revision or "main"
        try:
            # The client's other functions that list files have no timeout.
            info = HfApi(endpoint=self.endpoint).model_info(
                hub_id, revision=wanted, timeout=LIST_TIMEOUT_SECONDS, files_metadata=True
            )
            commit = info.sha or ""
            if not _SHA1.fullmatch(commit):
                raise ChatuiError(say("fetching.no_hub", endpoint=self.address))
        except Exception as error:
            raise hub_error(self, error, hub_id, revision=revision) from error
        cache, name = hugging_face_cache(), f"models--{hub_id.replace('/', '--')}"
        folder = cache / name / "snapshots" / commit
        files = []
        for file in info.siblings or ():
            size, digest = file.size, file.blob_id or ""
            if file.lfs:
                size, digest = file.lfs.size, file.lfs.sha256
            # The hash becomes a file's name.
            is_hash = (_SHA256 if file.lfs else _SHA1).fullmatch(digest or "")
            if size is None or not is_hash or not _is_safe(file.rfilename):
                continue
            url = f"{self.endpoint}/{hub_id}/resolve/{commit}/{quote(file.rfilename)}"
            content, lock = cache / name / "blobs" / digest, cache / ".locks" / name
            pointer, lock = folder / file.rfilename, lock / f"{digest}.lock"
            files.append(HubFile(file.rfilename, size, digest, url, content, pointer, lock))
        is_branch = wanted != commit and ".." not in wanted
        reference = cache / name / "refs" / wanted if is_branch else None
        return Repository(self, hub_id, folder, tuple(files), reference, commit, info.config or {})

    def headers(self) -> Mapping[str, str]:
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers: dict[str, str] = build_hf_headers(library_name="chatui")
        return headers


class ModelScope(Hub):
    """The hub at modelscope.cn, MODELSCOPE_ENDPOINT, or a mirror with the same protocol."""

    source = "modelscope"
    title = "ModelScope"

    def __init__(self, endpoint: str = "") -> None:
        try:
            from modelscope_hub import HubApi, HubConfig
        except ImportError as error:
            raise ChatuiError(say("fetching.no_modelscope")) from error
        self._api = HubApi(HubConfig(endpoint=endpoint or None))
        self.endpoint = str(self._api.legacy.endpoint).rstrip("/")

    def repository(self, hub_id: str, revision: str) -> Repository:
        """Use modelscope-hub's paths: ``models/owner--name/snapshots/revision``.

        An existing folder of an older client is completed, as modelscope-hub does.
        """
        wanted = revision or "master"
        try:
            entries = self._api.list_repo_files(hub_id, "model", revision=wanted)
        except Exception as error:
            raise hub_error(self, error, hub_id, revision=revision) from error
        name = hub_id.replace("/", "--")
        new = modelscope_root() / "models" / name / "snapshots" / wanted
        folder = modelscope_folder(hub_id) or new
        files = []
        for entry in entries:
            digest, path = str(entry.sha256 or "").lower(), folder / entry.path
            if entry.type != "tree" and _SHA256.fullmatch(digest) and _is_safe(entry.path):
                url = self._api.legacy.get_download_url(hub_id, "model", entry.path, wanted)
                locations = (path, path, modelscope_lock(path))
                files.append(HubFile(entry.path, int(entry.size), digest, url, *locations))
        return Repository(self, hub_id, folder, tuple(files))

    def headers(self) -> Mapping[str, str]:
        token = self._api.legacy.token
        return {"Cookie": f"m_session_id={token}"} if token else {}


def modelscope_lock(content: Path) -> Path:
    """Return the path of the lock that is held while ``content`` is fetched from ModelScope."""
    digest = hashlib.sha256(str(content).encode("utf-8", "surrogateescape")).hexdigest()
    return modelscope_root() / ".lock" / f"chatui_{digest[:32]}.lock"


def _is_safe(path: str) -> bool:
    """True if a path from a server stays inside the folder it is saved in."""
    steps = path.split("/")
    return all(step not in ("", ".", "..") for step in steps) and not set(path) & set("\\:\0")


def _size(file: Path) -> int:
    """Return the size in bytes; -1 if there is no file."""
    try:
        return file.stat().st_size
    except OSError:
        return -1
