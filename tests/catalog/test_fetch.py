"""Fetching from a server on loopback with Hugging Face's protocol."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from hub_server import HubServer
from served_models import (
    FIRST_SHARD,
    NEEDED,
    SHARD_BYTES,
    names_below,
    pull,
    serve_file,
    serve_model,
)

from chatui.catalog import resolve
from chatui.catalog.fetching import hubs, transfer
from chatui.catalog.fetching.fetch import Fetch, FetchDone, FetchNote, FetchProgress, fetch
from chatui.catalog.fetching.planning import FetchPlan, plan
from chatui.catalog.fetching.transfer import FetchCancelled
from chatui.catalog.local_models import hugging_face_snapshot
from chatui.errors import ChatuiError
from chatui.settings import Settings

WEIGHTS = "model.safetensors"


def partials(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "hub").rglob("*.incomplete"))


def test_needed_files_are_fetched_and_found_by_huggingface_hub(
    server: HubServer, tmp_path: Path
) -> None:
    from huggingface_hub import snapshot_download

    repository = serve_model(server, tmp_path)
    events = pull("you/model")
    done = events[-1]
    assert isinstance(done, FetchDone)
    assert names_below(done.folders[0]) == NEEDED
    assert set(server.sent) == NEEDED
    for path in NEEDED:
        source = repository.files[path].source.read_bytes()
        assert (done.folders[0] / path).read_bytes() == source
    assert done.received_bytes == sum(repository.files[path].size for path in NEEDED)
    found = snapshot_download("you/model", local_files_only=True, cache_dir=tmp_path / "hub")
    assert Path(found) == done.folders[0]
    assert resolve("you/model", Settings()).path == str(done.folders[0])


def test_progress_ends_with_all_bytes_and_never_goes_back(
    server: HubServer, tmp_path: Path
) -> None:
    serve_model(server, tmp_path)
    server.faults.bytes_per_second = 600_000
    seen = [event for event in pull("you/model") if isinstance(event, FetchProgress)]
    done = [event.done_bytes for event in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].total_bytes > 3 * SHARD_BYTES
    middle = seen[len(seen) // 2]
    assert 0 < middle.done_bytes < middle.total_bytes
    assert middle.bytes_per_second > 0
    assert middle.seconds_left is not None


def test_existing_files_are_not_fetched_again(server: HubServer, tmp_path: Path) -> None:
    serve_model(server, tmp_path)
    pull("you/model")
    before = server.sent.total()
    done = pull("you/model")[-1]
    assert isinstance(done, FetchDone)
    assert done.received_bytes == 0
    assert server.sent.total() == before


def test_files_fetched_by_huggingface_hub_are_not_fetched_again(
    server: HubServer, tmp_path: Path
) -> None:
    from huggingface_hub import hf_hub_download

    serve_model(server, tmp_path)
    hf_hub_download("you/model", FIRST_SHARD, endpoint=server.url, cache_dir=tmp_path / "hub")
    pull("you/model")
    assert server.sent[FIRST_SHARD] == SHARD_BYTES


def test_a_broken_connection_is_resumed(server: HubServer, tmp_path: Path) -> None:
    content = serve_file(server, tmp_path, 400_000)
    server.faults.cut_after[WEIGHTS] = 150_000
    server.faults.cuts[WEIGHTS] = 1
    done = pull("you/one")[-1]
    assert isinstance(done, FetchDone)
    assert (done.folders[0] / WEIGHTS).read_bytes() == content
    assert server.sent[WEIGHTS] == 400_000


def test_a_cancelled_fetch_is_resumed(server: HubServer, tmp_path: Path) -> None:
    content = serve_file(server, tmp_path, 2_000_000)
    server.faults.bytes_per_second = 1_000_000
    running = Fetch(plan("you/one", Settings()))
    with pytest.raises(FetchCancelled):
        for event in running.events():
            if isinstance(event, FetchProgress) and event.done_bytes > 300_000:
                running.cancel()
    (partial,) = partials(tmp_path)
    kept = partial.stat().st_size
    assert 300_000 <= kept < 2_000_000
    assert hugging_face_snapshot("you/one") is None, "half a model must not look like one"

    # The server notices only when it sends the next time.
    time.sleep(0.3)
    server.faults.bytes_per_second = 0
    server.sent.clear()
    made = plan("you/one", Settings())
    assert kept <= made.kept_bytes < kept + 1000
    done = list(Fetch(made).events())[-1]
    assert isinstance(done, FetchDone)
    assert server.sent[WEIGHTS] == 2_000_000 - kept == done.received_bytes
    assert (done.folders[0] / WEIGHTS).read_bytes() == content


def test_a_server_without_ranges_sends_the_whole_file_again(
    server: HubServer, tmp_path: Path
) -> None:
    content = serve_file(server, tmp_path, 400_000)
    server.faults.cut_after[WEIGHTS] = 150_000
    server.faults.cuts[WEIGHTS] = 1
    server.faults.ignores_ranges = True
    done = pull("you/one")[-1]
    assert isinstance(done, FetchDone)
    assert (done.folders[0] / WEIGHTS).read_bytes() == content
    assert server.sent[WEIGHTS] == 550_000


def test_a_damaged_file_is_fetched_again_once(server: HubServer, tmp_path: Path) -> None:
    content = serve_file(server, tmp_path, 400_000)
    server.faults.corrupted[WEIGHTS] = 1
    server.faults.corrupted["config.json"] = 1
    events = pull("you/one")
    notes = sorted(event.sentence for event in events if isinstance(event, FetchNote))
    words = "was damaged in transfer and is fetched again."
    assert notes == [f"config.json {words}", f"{WEIGHTS} {words}"]
    done = events[-1]
    assert isinstance(done, FetchDone)
    assert (done.folders[0] / WEIGHTS).read_bytes() == content
    assert (done.folders[0] / "config.json").read_text() == '{"model_type": "gpt2"}'


def test_a_file_damaged_twice_is_refused(server: HubServer, tmp_path: Path) -> None:
    serve_file(server, tmp_path, 400_000)
    server.faults.corrupted[WEIGHTS] = 2
    with pytest.raises(ChatuiError, match=r"model\.safetensors was damaged in transfer twice"):
        pull("you/one")
    (wanted,) = (f for f in plan("you/one", Settings()).files if f.path == WEIGHTS)
    assert wanted.kept_bytes == 0
    assert not wanted.partial.exists()
    assert hugging_face_snapshot("you/one") is None


def test_a_partial_file_damaged_on_disk_is_replaced(server: HubServer, tmp_path: Path) -> None:
    content = serve_file(server, tmp_path, 400_000)
    (wanted,) = (f for f in plan("you/one", Settings()).files if f.path == WEIGHTS)
    wanted.partial.parent.mkdir(parents=True)
    wanted.partial.write_bytes(bytes(100_000))
    done = pull("you/one")[-1]
    assert isinstance(done, FetchDone)
    assert (done.folders[0] / WEIGHTS).read_bytes() == content

    other = serve_file(server, tmp_path, 300_000, "you/two")
    (wanted,) = (f for f in plan("you/two", Settings()).files if f.path == WEIGHTS)
    wanted.partial.parent.mkdir(parents=True)
    wanted.partial.write_bytes(other + b"more than all")
    done = pull("you/two")[-1]
    assert isinstance(done, FetchDone)
    assert (done.folders[0] / WEIGHTS).read_bytes() == other


def test_a_request_to_a_busy_server_is_repeated(server: HubServer, tmp_path: Path) -> None:
    serve_file(server, tmp_path, 50_000)
    server.faults.status[WEIGHTS] = [503, 429]
    assert isinstance(pull("you/one")[-1], FetchDone)


def test_a_failing_server_is_one_sentence(server: HubServer, tmp_path: Path) -> None:
    serve_file(server, tmp_path, 50_000)
    server.faults.status[WEIGHTS] = [500] * 9
    with pytest.raises(ChatuiError, match=r"responds with an error \(500\)"):
        pull("you/one")
    server.faults.status[WEIGHTS] = [404]
    with pytest.raises(ChatuiError, match="has no repository"):
        pull("you/one")


def test_a_file_of_another_length_than_listed_is_refused(server: HubServer, tmp_path: Path) -> None:
    repository = serve_model(server, tmp_path)
    repository.claimed_bytes[FIRST_SHARD] = SHARD_BYTES + 5
    with pytest.raises(ChatuiError, match=f"does not send all of {FIRST_SHARD}"):
        pull("you/model")
    repository.claimed_bytes[FIRST_SHARD] = SHARD_BYTES - 5
    with pytest.raises(ChatuiError, match=f"{FIRST_SHARD} was damaged in transfer twice"):
        pull("you/model")


def test_cancelling_does_not_wait_for_a_stalled_connection(
    server: HubServer, tmp_path: Path
) -> None:
    serve_file(server, tmp_path, 400_000)
    server.faults.stalled = threading.Event()
    running = Fetch(plan("you/one", Settings()))
    threading.Timer(0.2, running.cancel).start()
    began = time.monotonic()
    with pytest.raises(FetchCancelled):
        list(running.events())
    assert time.monotonic() - began < 3
    # The thread still hangs in the dead line, and the file can be fetched all the same.
    stalled, server.faults.stalled = server.faults.stalled, None
    assert isinstance(pull("you/one")[-1], FetchDone)
    stalled.set()


@pytest.mark.parametrize("times", [1, 99])
def test_a_stalled_connection_is_repeated(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.1)
    serve_file(server, tmp_path, 400_000)
    server.faults.silent[WEIGHTS] = times
    if times == 1:
        assert isinstance(pull("you/one")[-1], FetchDone)
        return
    with pytest.raises(ChatuiError) as error:
        pull("you/one")
    assert "timed out" in str(error.value)


def test_a_hub_that_never_responds_times_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "LIST_TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ChatuiError):
            plan("you/one", Settings(), mirror=endpoint)


def test_two_fetches_at_once_fetch_each_file_once(server: HubServer, tmp_path: Path) -> None:
    repository = serve_model(server, tmp_path)
    server.faults.bytes_per_second = 500_000
    ends: list[object] = []
    both = [threading.Thread(target=lambda: ends.append(pull("you/model")[-1])) for _ in "12"]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [type(end) for end in ends] == [FetchDone, FetchDone]
    assert server.sent == {path: repository.files[path].size for path in NEEDED}


def test_a_newer_commit_is_used_once_it_is_complete(server: HubServer, tmp_path: Path) -> None:
    serve_model(server, tmp_path)
    pull("you/model")
    old = hugging_face_snapshot("you/model")
    folder = tmp_path / "served" / "you" / "model"
    (folder / FIRST_SHARD).write_bytes(b"new" * 100_000)
    server.add("you/model", folder)
    server.sent.clear()
    server.faults.corrupted[FIRST_SHARD] = 2
    with pytest.raises(ChatuiError):
        pull("you/model")
    assert hugging_face_snapshot("you/model") == old
    server.sent.clear()
    pull("you/model")
    new = hugging_face_snapshot("you/model")
    assert new not in (None, old)
    assert set(server.sent) == {FIRST_SHARD}
    assert names_below(new) == NEEDED


def test_files_fetched_separately_are_all_updated_when_the_branch_moves(
    server: HubServer, tmp_path: Path
) -> None:
    folder = tmp_path / "served" / "you" / "many"
    folder.mkdir(parents=True)
    for name in ("a.gguf", "b.gguf"):
        (folder / name).write_bytes(name.encode() * 5000)
    server.add("you/many", folder)
    pull("you/many/a.gguf")
    (folder / "README.md").write_text("changed")
    server.add("you/many", folder)
    pull("you/many/b.gguf")
    assert names_below(hugging_face_snapshot("you/many")) == {"a.gguf", "b.gguf"}
    assert server.sent["a.gguf"] == 30_000


@pytest.mark.parametrize(
    "path", ["../../../../evil", "/evil", "a\\..\\evil", "a//b", "c:x", "../0123/x"]
)
def test_paths_outside_the_folder_are_never_fetched(
    server: HubServer, tmp_path: Path, path: str
) -> None:
    repository = serve_model(server, tmp_path)
    pull("you/model")
    before = hugging_face_snapshot("you/model")
    assert before is not None
    # Of a new commit, all files that are already there are fetched.
    there = Path(os.path.normpath(before / path))
    if there.is_relative_to(tmp_path):
        there.parent.mkdir(exist_ok=True)
        there.write_text("mine")
    repository.files[path] = repository.files["README.md"]
    repository.commit = "1" * 40
    assert path not in {file.path for file in plan("you/model", Settings()).files}


async def test_the_async_fetch_yields_the_plan_and_the_events(
    server: HubServer, tmp_path: Path
) -> None:
    serve_model(server, tmp_path)
    seen = [event async for event in fetch("you/model", Settings())]
    assert isinstance(seen[0], FetchPlan)
    assert isinstance(seen[-1], FetchDone)
    assert any(isinstance(event, FetchProgress) for event in seen)


async def test_closing_the_async_fetch_cancels_it(server: HubServer, tmp_path: Path) -> None:
    serve_file(server, tmp_path, 4_000_000)
    server.faults.bytes_per_second = 1_000_000
    events = fetch("you/one", Settings())
    async for event in events:
        if isinstance(event, FetchProgress) and event.done_bytes:
            break
    await events.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    sent = server.sent[WEIGHTS]
    await asyncio.sleep(0.2)
    assert server.sent[WEIGHTS] == sent < 3_000_000
