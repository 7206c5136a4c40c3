"""Fetching through ModelScope's client from the server on loopback."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from hub_server import HubServer
from served_models import NEEDED, serve_file, serve_model

from chatui.catalog import resolve
from chatui.catalog.fetching import transfer
from chatui.catalog.fetching.fetch import Fetch, FetchDone, FetchNote, FetchProgress
from chatui.catalog.fetching.planning import FetchPlan, plan
from chatui.catalog.fetching.removing import plan_removal, remove
from chatui.catalog.fetching.transfer import FetchCancelled
from chatui.catalog.local_models import cached_repositories, modelscope_folder
from chatui.errors import ChatuiError
from chatui.settings import Settings

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def needs_the_client() -> None:
    pytest.importorskip("modelscope_hub", reason="needs pip install 'chatui[modelscope]'")


def planned(name: str, **options: str) -> FetchPlan:
    return plan(name, Settings(), source="modelscope", **options)


def test_needed_files_are_fetched_and_found_by_modelscopes_client(
    server: HubServer, tmp_path: Path
) -> None:
    from modelscope_hub import HubApi, HubConfig

    repository = serve_model(server, tmp_path, "you/model-1.5")
    done = list(Fetch(planned("you/model-1.5")).events())[-1]
    assert isinstance(done, FetchDone)
    (folder,) = done.folders
    there = {file.name for file in folder.rglob("*") if file.is_file()}
    assert there == NEEDED
    assert set(server.sent) == NEEDED
    assert done.received_bytes == sum(repository.files[path].size for path in NEEDED)
    client = HubApi(HubConfig())
    config = client.download_file("you/model-1.5", "model", "config.json", local_files_only=True)
    assert Path(config) == folder / "config.json"
    assert modelscope_folder("you/model-1.5") == folder
    assert [found.hub_id for found in cached_repositories()] == ["you/model-1.5"]
    assert resolve("you/model-1.5", Settings()).path == str(folder)


def test_files_fetched_by_modelscopes_client_are_not_fetched_again(
    server: HubServer, tmp_path: Path
) -> None:
    from modelscope_hub import HubApi, HubConfig

    serve_file(server, tmp_path, 200_000)
    HubApi(HubConfig()).download_file("you/one", "model", WEIGHTS)
    list(Fetch(planned("you/one")).events())
    assert server.sent[WEIGHTS] == 200_000


def test_a_cancelled_modelscope_fetch_is_resumed(server: HubServer, tmp_path: Path) -> None:
    content = serve_file(server, tmp_path, 1_000_000)
    server.faults.bytes_per_second = 1_000_000
    running = Fetch(planned("you/one"))
    with pytest.raises(FetchCancelled):
        for event in running.events():
            if isinstance(event, FetchProgress) and event.done_bytes > 200_000:
                running.cancel()
    server.faults.bytes_per_second = 0
    made = planned("you/one")
    kept = made.kept_bytes
    assert kept > 200_000
    done = list(Fetch(made).events())[-1]
    assert isinstance(done, FetchDone)
    assert done.received_bytes == made.total_bytes - kept
    assert (done.folders[0] / WEIGHTS).read_bytes() == content


def test_a_stalled_connection_is_repeated(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.1)
    serve_file(server, tmp_path, 400_000)
    server.faults.silent[WEIGHTS] = 1
    assert isinstance(list(Fetch(planned("you/one")).events())[-1], FetchDone)


def test_a_file_can_be_fetched_again_while_its_connection_hangs(
    server: HubServer, tmp_path: Path
) -> None:
    serve_file(server, tmp_path, 400_000)
    server.faults.stalled = stalled = threading.Event()
    running = Fetch(planned("you/one"))
    threading.Timer(0.2, running.cancel).start()
    with pytest.raises(FetchCancelled):
        list(running.events())
    server.faults.stalled = None
    assert isinstance(list(Fetch(planned("you/one")).events())[-1], FetchDone)
    stalled.set()


def test_a_model_that_is_being_fetched_is_not_removed(server: HubServer, tmp_path: Path) -> None:
    serve_file(server, tmp_path, 400_000)
    server.faults.stalled = threading.Event()
    running = Fetch(planned("you/one"))
    events = running.events()
    while not isinstance(event := next(events), FetchProgress) or event.done_bytes < 200_000:
        pass
    with pytest.raises(ChatuiError, match="is being fetched"):
        plan_removal("you/one", Settings())
    server.faults.stalled.set()
    assert isinstance(list(events)[-1], FetchDone)
    assert remove(plan_removal("you/one", Settings())) > 400_000


def test_a_damaged_modelscope_file_is_fetched_again(server: HubServer, tmp_path: Path) -> None:
    content = serve_file(server, tmp_path, 200_000)
    server.faults.corrupted[WEIGHTS] = 1
    events = list(Fetch(planned("you/one")).events())
    assert FetchNote(f"{WEIGHTS} was damaged in transfer and is fetched again.") in events
    done = events[-1]
    assert isinstance(done, FetchDone)
    assert (done.folders[0] / WEIGHTS).read_bytes() == content


def test_refusals_are_one_sentence(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ChatuiError, match=r"ModelScope .* has no repository you/nothing"):
        planned("you/nothing")
    serve_model(server, tmp_path).token = "ms-secret"
    with pytest.raises(ChatuiError, match="set MODELSCOPE_API_TOKEN"):
        planned("you/model")
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-secret")
    assert isinstance(list(Fetch(planned("you/model")).events())[-1], FetchDone)


def test_no_network_is_one_sentence(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between its four tries ModelScope's client waits for seven seconds.
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda *_, **__: None)
    with pytest.raises(ChatuiError, match=r"127\.0\.0\.1:9 cannot be reached .* --from hf"):
        planned("you/model", mirror="http://127.0.0.1:9")


def test_parts_missing_on_modelscope_come_from_hugging_face(
    server: HubServer, tmp_path: Path, users_preset: object
) -> None:
    serve_file(server, tmp_path, 20_000, "here/base")
    serve_file(server, tmp_path, 20_000, "there/words")
    text = """
format = "gpt2-chinese"
base = { hf = "there/base", modelscope = "here/base" }
tokenizer = { hf = "there/words" }
"""
    users_preset("mixed.toml", text)  # type: ignore[operator]
    made = planned("mixed")
    assert [r.hub.source for r in made.repositories] == ["modelscope", "hf"]
    assert made.notes == ("there/words is not on ModelScope and is downloaded from the other hub.",)
    list(Fetch(made).events())
    assert resolve("mixed", Settings()).path == str(modelscope_folder("here/base"))
    # What one hub brought need not come from the other.
    (again,) = plan("mixed", Settings()).repositories
    assert again.hub_id == "there/words"


def test_it_can_be_removed(server: HubServer, tmp_path: Path) -> None:
    serve_file(server, tmp_path, 20_000)
    list(Fetch(planned("you/one")).events())
    removal = plan_removal("you/one", Settings())
    assert removal.size_bytes == 20_000 + len('{"model_type": "gpt2"}')
    remove(removal)
    assert modelscope_folder("you/one") is None


def test_a_missing_client_names_the_pip_command(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "modelscope_hub", None)
    with pytest.raises(ChatuiError, match=r"pip install 'chatui\[modelscope\]'"):
        planned("you/model")
