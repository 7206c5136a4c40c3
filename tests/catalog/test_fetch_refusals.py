"""Refused fetches: errors of the hub, the network, the disk or the user are one sentence each."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hub_server import HubServer
from served_models import FIRST_SHARD, pull, serve_model

from chatui.catalog.fetching.fetch import FetchDone
from chatui.catalog.fetching.hub_errors import hub_error
from chatui.catalog.fetching.hubs import HuggingFace
from chatui.catalog.fetching.planning import plan
from chatui.errors import ChatuiError
from chatui.settings import Settings


def test_a_full_disk_is_refused_before_the_fetch(server: HubServer, tmp_path: Path) -> None:
    repository = serve_model(server, tmp_path)
    repository.claimed_bytes[FIRST_SHARD] = 10**16
    with pytest.raises(ChatuiError, match=r"needs 10000000\.\d GB more, .* only [\d.]+ GB free"):
        plan("you/model", Settings())


def test_the_token_opens_a_private_repository_and_is_not_sent_to_the_storage(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_model(server, tmp_path).token = "hf_secret"
    with pytest.raises(ChatuiError, match="has no repository you/model; if it is private"):
        plan("you/model", Settings())
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert isinstance(pull("you/model")[-1], FetchDone)
    assert server.leaked == []
    assert "hf_secret" not in repr(plan("you/model", Settings()))


def test_refusals_are_one_sentence_with_the_next_step(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_model(server, tmp_path).gated = True
    with pytest.raises(ChatuiError, match=r"accept them on http.*/you/model, create a token"):
        pull("you/model")
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    with pytest.raises(ChatuiError, match=r"accept them on http.*/you/model, create a token"):
        pull("you/model")
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(ChatuiError, match="does not accept the token"):
        pull("you/model")


def test_an_unreadable_token_folder_is_not_blamed_on_the_hub(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    serve_model(server, tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "file" / "token"))
    with pytest.raises(ChatuiError, match=r"file/token cannot be read: Not a directory\."):
        plan("you/model", Settings())


def test_missing_repositories_and_files_are_one_sentence(server: HubServer, tmp_path: Path) -> None:
    serve_model(server, tmp_path)
    with pytest.raises(ChatuiError, match="has no repository you/nothing"):
        plan("you/nothing", Settings())
    with pytest.raises(ChatuiError, match="you/model has no file model"):
        plan("you/model/model.gguf", Settings())
    with pytest.raises(ChatuiError, match=r"did you mean shiyou\?"):
        plan("shiyuo", Settings())
    for name in ("", "../..", "a b/c", "诗/友", "/etc/passwd", "a/../b"):
        with pytest.raises(ChatuiError):
            plan(name, Settings())


def test_an_unsupported_family_is_noted_before_the_download(
    server: HubServer, tmp_path: Path
) -> None:
    repository = serve_model(server, tmp_path)
    assert plan("you/model", Settings()).notes == ()
    config = repository.files["config.json"].source
    config.write_text('{"model_type": "baichuan", "architectures": ["BaichuanForCausalLM"]}')
    (note,) = plan("you/model", Settings()).notes
    assert "baichuan" in note and "--server URL" in note


def test_network_errors_and_offline_mode_are_one_sentence(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    serve_model(server, tmp_path)
    with pytest.raises(ChatuiError, match=r"127\.0\.0\.1:9 cannot be reached .* --from modelscope"):
        plan("you/model", Settings(), mirror="http://127.0.0.1:9")
    for wrong in ("hf-mirror.com", "ftp://x", "http://", "http://a b", "http://x:99999999"):
        with pytest.raises(ChatuiError, match="is not the address of a mirror"):
            plan("you/model", Settings(), mirror=wrong)
    server.faults.is_no_hub = True
    with pytest.raises(ChatuiError, match="does not respond like a model hub"):
        plan("you/model", Settings())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ChatuiError, match="HF_HUB_OFFLINE"):
        plan("you/model", Settings())


@pytest.mark.parametrize(
    ("endpoint", "ways"),
    [
        ("https://huggingface.co", "--mirror https://hf-mirror.com, --from modelscope"),
        ("https://hf-mirror.com", "--from modelscope"),
        ("https://me:hush@hf-mirror.com", "--from modelscope"),
    ],
)
def test_a_source_that_fails_is_not_suggested(endpoint: str, ways: str) -> None:
    error = hub_error(HuggingFace(endpoint), ConnectionError(errno.ECONNREFUSED, ""), "you/model")
    assert str(error).endswith(f"choose another source for chatui pull: {ways}.")


def test_a_mirror_replaces_the_hub(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_model(server, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert isinstance(pull("you/model", mirror=f"{server.url}/")[-1], FetchDone)


def test_a_mirrors_password_is_not_shown(server: HubServer, tmp_path: Path) -> None:
    mirror = server.url.replace("http://", "http://me:hush@")
    with pytest.raises(ChatuiError) as caught:
        plan("you/nothing", Settings(), mirror=mirror)
    assert "hush" not in str(caught.value)
    serve_model(server, tmp_path)
    server.faults.is_no_hub = True
    with pytest.raises(ChatuiError) as caught:
        plan("you/model", Settings(), mirror=mirror)
    assert "hush" not in str(caught.value)
