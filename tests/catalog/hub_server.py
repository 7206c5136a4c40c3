"""A server on loopback with the protocols of Hugging Face's hub and of ModelScope.

It serves real files with real hashes, counts the sent bytes, and simulates faults. The endpoints
and headers are those used by huggingface_hub 2.4 and modelscope-hub 0.5. As a script, it serves a
folder ``owner/name/files…`` and prints its address.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LFS_FROM_BYTES = 10_000
"""Smaller files are stored in git, larger ones in LFS by their SHA-256."""


@dataclass(frozen=True)
class ServedFile:
    """A file of a repository."""

    path: str
    source: Path

    @property
    def size(self) -> int:
        return self.source.stat().st_size

    @property
    def is_lfs(self) -> bool:
        return self.size >= LFS_FROM_BYTES

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        with self.source.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    @cached_property
    def blob_id(self) -> str:
        content = self.source.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.blob_id


@dataclass
class Repository:
    """A served repository.

    Attributes:
        files: path -> file.
        commit: commit of its only revision, "main" ("master" for ModelScope).
        token: token that may read it; "" for everyone.
        gated: whether terms must be accepted first, which no token has done.
        claimed_bytes: path -> wrong size in the listing.
    """

    files: dict[str, ServedFile]
    commit: str
    token: str = ""
    gated: bool = False
    claimed_bytes: dict[str, int] = field(default_factory=dict)


@dataclass
class Faults:
    """Simulated faults, by the path of a file; each request decreases a count.

    Attributes:
        cut_after: bytes of the file after which the connection is closed.
        cuts: number of responses that are cut.
        corrupted: number of responses with one wrong byte.
        status: status codes to send instead of the file, one for each request.
        bytes_per_second: speed of all responses; 0 for no limit.
        stalled: responses stop after half of the file until this event is set.
        silent: number of responses that stall after their headers, for two seconds at most.
        ignores_ranges: whether every response is the whole file.
        is_no_hub: whether every response is a web page.
    """

    cut_after: dict[str, int] = field(default_factory=dict)
    cuts: Counter[str] = field(default_factory=Counter)
    corrupted: Counter[str] = field(default_factory=Counter)
    status: dict[str, list[int]] = field(default_factory=dict)
    bytes_per_second: int = 0
    stalled: threading.Event | None = None
    silent: Counter[str] = field(default_factory=Counter)
    ignores_ranges: bool = False
    is_no_hub: bool = False


class HubServer(ThreadingHTTPServer):
    """The server; as a context manager it runs in a thread.

    Attributes:
        repositories: "owner/name" -> repository.
        sent: path -> sent bytes of the file's content.
        requests: "METHOD /path" of all requests, in order.
        leaked: paths of requests to the storage host that contained a token.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.repositories: dict[str, Repository] = {}
        self.faults = Faults()
        self.sent: Counter[str] = Counter()
        self.requests: list[str] = []
        self.leaked: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def storage_url(self) -> str:
        """Another origin for large files, like the hub's storage."""
        return f"http://localhost:{self.server_port}/storage"

    def add(self, hub_id: str, folder: Path, *, token: str = "", gated: bool = False) -> Repository:
        """Serve the files below ``folder`` as ``hub_id``."""
        files = {
            file.relative_to(folder).as_posix(): file
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        served = {path: ServedFile(path, file) for path, file in files.items()}
        commit = hashlib.sha1(
            "".join(f"{f.path}{f.etag}" for f in served.values()).encode()
        ).hexdigest()
        self.repositories[hub_id] = Repository(served, commit, token, gated)
        return self.repositories[hub_id]

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.faults.stalled:
            self.faults.stalled.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Headers and content are two writes; Nagle's algorithm would delay the second.
    disable_nagle_algorithm = True
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        with self.server.lock:
            self.server.requests.append(f"{self.command} {path}")
        steps = path.strip("/").split("/")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if self.server.faults.is_no_hub:
            self._page()
        elif steps[:1] == ["storage"]:
            self._storage(*steps[1:3], "/".join(steps[3:]))
        elif steps[:3] == ["api", "v1", "models"]:
            self._modelscope("/".join(steps[3:5]), steps[5:], query)
        elif steps[:2] == ["api", "models"]:
            self._api("/".join(steps[2:4]), steps[4:])
        elif len(steps) > 4 and steps[2] == "resolve":
            self._resolve("/".join(steps[:2]), steps[3], "/".join(steps[4:]))
        else:
            self._error(404, "", "Not found")

    # Hugging Face: https://huggingface.co/docs/hub/api

    def _allowed(self, hub_id: str, *, content: bool) -> Repository | None:
        """Return the repository, or respond like the hub if the client may not read it."""
        repository = self.server.repositories.get(hub_id)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token == "wrong":
            message = "Invalid credentials in Authorization header"
            return self._error(401, "", message)
        if repository is None or (repository.token not in ("", token) and not repository.gated):
            if token:
                return self._error(404, "RepoNotFound", "Repository not found")
            return self._error(401, "RepoNotFound", "Invalid username or password.")
        if repository.gated and content:
            status = 403 if token else 401
            return self._error(status, "GatedRepo", f"Access to model {hub_id} is restricted.")
        return repository

    def _api(self, hub_id: str, rest: list[str]) -> None:
        repository = self._allowed(hub_id, content=False)
        if repository is None:
            return None
        revision = rest[1] if rest[:1] in (["revision"], ["tree"]) else "main"
        if revision not in ("main", repository.commit):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if rest[:1] == ["tree"]:
            return self._json([self._tree_entry(file) for file in repository.files.values()])
        gated = "manual" if repository.gated else False
        siblings = [self._entry(file, repository) for file in repository.files.values()]
        info = {"id": hub_id, "sha": repository.commit, "gated": gated, "siblings": siblings}
        # Like the real hub, include an excerpt of the config if it can be read.
        with suppress(KeyError, ValueError):
            config = json.loads(repository.files["config.json"].source.read_text())
            kept = ("model_type", "architectures")
            info["config"] = {name: config[name] for name in kept if name in config}
        return self._json(info)

    def _entry(self, file: ServedFile, repository: Repository) -> dict[str, object]:
        size = repository.claimed_bytes.get(file.path, file.size)
        entry: dict[str, object] = {"rfilename": file.path}
        if not parse_qs(urlsplit(self.path).query).get("blobs"):
            return entry
        pointer = hashlib.sha1(file.path.encode()).hexdigest()
        entry |= {"size": size, "blobId": pointer if file.is_lfs else file.blob_id}
        if file.is_lfs:
            entry["lfs"] = {"sha256": file.sha256, "size": size, "pointerSize": 134}
        return entry

    def _tree_entry(self, file: ServedFile) -> dict[str, object]:
        """A file as ``hf download`` lists it."""
        entry = {"type": "file", "path": file.path, "size": file.size, "oid": file.blob_id}
        if file.is_lfs:
            entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
        return entry

    def _resolve(self, hub_id: str, revision: str, path: str) -> None:
        repository = self._allowed(hub_id, content=True)
        if repository is None:
            return None
        if revision not in ("main", repository.commit):
            return self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        file = repository.files.get(path)
        if file is None:
            return self._error(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if not file.is_lfs:
            return self._content(file, headers | {"ETag": f'"{file.etag}"'})
        self.send_response(302)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-Linked-ETag", f'"{file.etag}"')
        self.send_header("X-Linked-Size", str(file.size))
        self.send_header("Location", f"{self.server.storage_url}/{hub_id}/{quote(path)}")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _storage(self, owner: str, name: str, path: str) -> None:
        if self.headers.get("Authorization") or self.headers.get("Cookie"):
            self.server.leaked.append(path)
        file = self.server.repositories[f"{owner}/{name}"].files[path]
        self._content(file, {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"})

    # ModelScope: modelscope_hub/_legacy_api.py

    def _modelscope(self, hub_id: str, rest: list[str], query: dict[str, str]) -> None:
        repository = self.server.repositories.get(hub_id)
        if repository and repository.token:
            cookies = self.headers.get("Cookie", "") + self.headers.get("Authorization", "")
            if repository.token not in cookies:
                return self._error(403, "", "access denied")
        if repository is None or query.get("Revision", "master") != "master":
            return self._error(404, "", "record not found")
        if rest == ["repo", "files"]:
            files = [
                {"Type": "blob", "Path": f.path, "Size": f.size, "Sha256": f.sha256}
                for f in repository.files.values()
            ]
            return self._json({"Code": 200, "Success": True, "Data": {"Files": files}})
        file = repository.files.get(query.get("FilePath", ""))
        if rest == ["repo"] and file:
            return self._content(file, {"Accept-Ranges": "bytes"})
        return self._error(404, "", "record not found")

    # Common to both

    def _content(self, file: ServedFile, headers: dict[str, str]) -> None:
        faults = self.server.faults
        if self.command == "GET" and faults.status.get(file.path):
            return self._error(faults.status[file.path].pop(0), "", "try later")
        begin, end = 0, file.size
        asked = self.headers.get("Range", "")
        ranged = asked.startswith("bytes=") and not faults.ignores_ranges
        if ranged:
            first, _, last = asked[len("bytes=") :].partition("-")
            begin, end = int(first), min(int(last or file.size) + 1, file.size)
            if begin >= file.size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{file.size}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{file.size}")
        self.send_header("Content-Length", str(end - begin))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._send(file, begin, end)
        return None

    def _send(self, file: ServedFile, begin: int, asked_end: int) -> None:
        faults = self.server.faults
        end = asked_end
        with self.server.lock:
            if faults.cuts[file.path] > 0:
                faults.cuts[file.path] -= 1
                end = min(end, faults.cut_after[file.path])
            spoil = faults.corrupted[file.path] > 0
            faults.corrupted[file.path] -= spoil
        self.wfile.flush()
        with file.source.open("rb") as stream:
            at = begin
            if faults.silent[file.path] > 0:
                faults.silent[file.path] -= 1
                self.wfile.flush()
                time.sleep(2)
                return
            while at < end:
                if faults.stalled and at >= file.size // 2:
                    faults.stalled.wait()
                rate = faults.bytes_per_second
                step = min(end - at, rate // 20 or 1 << 20)
                if faults.stalled and at < file.size // 2:
                    step = min(step, file.size // 2 - at)
                # Counted first, because the test may look as soon as the last byte has arrived.
                self._count(file, step)
                count = 0
                try:
                    if spoil:
                        stream.seek(at)
                        content = bytearray(stream.read(step))
                        content[-1] ^= 1
                        spoil = False
                        self.wfile.write(content)
                        count = len(content)
                    else:
                        count = os.sendfile(self.connection.fileno(), stream.fileno(), at, step)
                finally:
                    self._count(file, count - step)
                at += count
                if rate:
                    time.sleep(count / rate)
        if end < asked_end:
            self.close_connection = True

    def _count(self, file: ServedFile, count: int) -> None:
        with self.server.lock:
            self.server.sent[file.path] += count

    def _page(self) -> None:
        body = b"<html>Please log in to this wireless network.</html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _error(self, status: int, code: str, message: str) -> None:
        body = json.dumps({"error": message, "Code": status, "Message": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def main() -> None:
    """Serve every ``owner/name`` below the given folder until killed."""
    root = Path(sys.argv[1])
    server = HubServer()
    for repository in sorted(root.glob("*/*")):
        server.add(f"{repository.parent.name}/{repository.name}", repository)
    print(server.url, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
