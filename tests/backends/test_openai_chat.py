"""The OpenAI-compatible backend with a server that has vLLM's API and a tiny real model."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tiny_server import CONTEXT, TinyServer, make_model, serving

from chatui.backends import servers
from chatui.backends.openai.backend import OpenAIBackend
from chatui.backends.openai.model_list import ListedModel, choose_model
from chatui.backends.openai.server_prompt import format_of, render
from chatui.errors import ChatuiError
from chatui.messages import (
    Done,
    GenerateRequest,
    Loaded,
    ModelSpec,
    PartialReply,
    Prefill,
    ReplyEvent,
    Token,
)
from chatui.sampling import SamplingSettings
from chatui.settings import Server

FEW = SamplingSettings(max_new_tokens=8)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    with serving(TinyServer(make_model(tmp_path_factory.mktemp("tiny")))) as server:
        yield server


@pytest.fixture
def server(running: TinyServer) -> Iterator[TinyServer]:
    running.record.clear()
    yield running
    running.refused, running.key, running.thoughts, running.advice = set(), "", "", ""


async def loaded(backend: OpenAIBackend, spec: ModelSpec) -> Loaded:
    events = [event async for event in backend.load(spec)]
    assert isinstance(events[-1], Loaded)
    return events[-1]


async def backend_for(server: TinyServer, format: str | None = None) -> OpenAIBackend:
    backend = OpenAIBackend()
    await loaded(backend, servers.spec_for(server.url, "tiny", format=format))
    return backend


async def reply(backend: OpenAIBackend, request: GenerateRequest) -> list[ReplyEvent]:
    return [event async for event in backend.generate(request)]


def text_of(events: list[ReplyEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


async def test_chat_sends_messages_and_streams_the_reply(server: TinyServer) -> None:
    backend = await backend_for(server)
    request = GenerateRequest(
        "你好", history=(("早", "<think>嗯</think>早！"),), sampling=FEW, system="答"
    )
    events = await reply(backend, request)
    await backend.close()
    assert server.record.bodies[-1]["messages"] == [
        {"role": "system", "content": "答"},
        {"role": "user", "content": "早"},
        {"role": "assistant", "content": "早！"},
        {"role": "user", "content": "你好"},
    ]
    prefill, done = events[0], events[-1]
    assert isinstance(prefill, Prefill) and isinstance(done, Done)
    assert done.text == text_of(events) and len(done.text) == 8
    assert done.finish_reason == "length"
    assert done.output_tokens == 8
    assert prefill.prompt_tokens == done.prompt_tokens > 0
    assert prefill.context_limit == CONTEXT
    assert done.seed == server.record.bodies[-1]["seed"]


async def test_a_prompt_format_uses_the_completions_api(server: TinyServer) -> None:
    backend = await backend_for(server, "gpt2-chinese")
    events = await reply(backend, GenerateRequest("abc", sampling=FEW))
    await backend.close()
    body = server.record.bodies[-1]
    prefill = events[0]
    assert isinstance(prefill, Prefill)
    assert body["prompt"] == prefill.prompt
    assert "messages" not in body
    assert body["temperature"] == 1.0  # a completion request leaves nothing to the server


async def test_a_command_of_a_format_is_answered_without_the_server(server: TinyServer) -> None:
    backend = await backend_for(server, "chatrwkv")
    events = await reply(backend, GenerateRequest("+reset", (("你好", "好"),), sampling=FEW))
    assert [type(event) for event in events] == [Prefill, Token, Done]
    assert text_of(events)
    assert not server.record.bodies
    await backend.close()


async def test_free_text_of_a_format_has_no_stop_strings(server: TinyServer) -> None:
    backend = await backend_for(server, "chatrwkv")
    await reply(backend, GenerateRequest("你好", system="短", sampling=FEW))
    assert server.record.bodies[-1]["stop"] == ["\n\n", "\nBob:"]
    await reply(backend, GenerateRequest("+gen 春", sampling=FEW))
    assert "stop" not in server.record.bodies[-1]
    way = format_of(ModelSpec("", "", format="chatrwkv"))
    assert [way.clean(query, " 夜\n") for query in ("你好", "+gen 春")] == ["夜", " 夜\n"]
    await backend.close()


async def test_a_completion_without_a_limit_may_fill_the_window(server: TinyServer) -> None:
    backend = await backend_for(server, "gpt2-chinese")
    events = await reply(backend, GenerateRequest("abc"))
    await backend.close()
    done = events[-1]
    assert isinstance(done, Done)
    assert done.prompt_tokens + done.output_tokens == CONTEXT


@pytest.mark.parametrize("format", [None, "gpt2-chinese"])
async def test_a_stop_string_is_never_shown(server: TinyServer, format: str | None) -> None:
    backend = await backend_for(server, format)
    whole = text_of(await reply(backend, GenerateRequest("abc", sampling=FEW)))
    request = GenerateRequest("abc", sampling=FEW, stop_strings=(whole[3:5],))
    # Once with the server's help and once without.
    for refused in (set(), {"stop"}):
        server.refused = refused
        events = await reply(backend, request)
        done = events[-1]
        assert isinstance(done, Done)
        assert done.finish_reason == "stop"
        assert done.text == text_of(events) == whole[: whole.find(whole[3:5])]
    await backend.close()


@pytest.mark.parametrize("format", [None, "gpt2-chinese"])
async def test_stop_makes_the_server_stop(server: TinyServer, format: str | None) -> None:
    backend = await backend_for(server, format)
    seen: list[ReplyEvent] = []
    request = GenerateRequest("abc", sampling=SamplingSettings(max_new_tokens=200))
    async for event in backend.generate(request):
        seen.append(event)
        if len(text_of(seen)) == 3:
            await backend.stop()
    done = seen[-1]
    assert isinstance(done, Done)
    assert done.finish_reason == "cancelled"
    assert done.text == text_of(seen) and len(done.text) == 3
    assert await asyncio.to_thread(server.record.cut_off.wait, 20)
    # One that was being sent may still be counted.
    await asyncio.sleep(0.05)
    sent = server.record.tokens_sent
    assert sent < 50
    await asyncio.sleep(0.05)
    assert server.record.tokens_sent == sent
    # The next round works on the same backend.
    assert isinstance((await reply(backend, GenerateRequest("d", sampling=FEW)))[-1], Done)
    await backend.close()


async def test_closing_the_generator_stops_the_server(server: TinyServer) -> None:
    backend = await backend_for(server)
    events = backend.generate(GenerateRequest("abc", sampling=SamplingSettings(max_new_tokens=200)))
    async for event in events:
        if isinstance(event, Token):
            break
    await events.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(server.record.cut_off.wait, 20)
    await backend.close()


async def test_sampling_settings_become_fields(server: TinyServer) -> None:
    backend = await backend_for(server)
    sampling = SamplingSettings(
        temperature=0.7,
        top_k=5,
        top_p=0.9,
        min_p=0.1,
        repetition_penalty=1.2,
        presence_penalty=0.3,
        frequency_penalty=0.4,
        max_new_tokens=4,
        seed=7,
    )
    await reply(backend, GenerateRequest("a", sampling=sampling))
    body = server.record.bodies[-1]
    wanted = {
        "temperature": 0.7,
        "top_k": 5,
        "top_p": 0.9,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.4,
        "max_tokens": 4,
        "seed": 7,
    }
    assert {name: body[name] for name in wanted} == wanted
    # Defaults are the server's own in a chat.
    await reply(backend, GenerateRequest("a", sampling=FEW))
    assert not {"temperature", "top_p", "top_k"} & set(server.record.bodies[-1])
    greedy = SamplingSettings(greedy=True, max_new_tokens=4)
    await reply(backend, GenerateRequest("a", sampling=greedy))
    assert server.record.bodies[-1]["temperature"] == 0
    await backend.close()


async def test_refused_fields_are_left_out_and_named_once(server: TinyServer) -> None:
    server.refused = {"top_k", "min_p", "stream_options"}
    backend = await backend_for(server)
    request = GenerateRequest("a", sampling=SamplingSettings(top_k=5, min_p=0.1, max_new_tokens=3))
    first, second = await reply(backend, request), await reply(backend, request)
    await backend.close()
    assert isinstance(first[0], Prefill) and isinstance(second[0], Prefill)
    assert len(first[0].notes) == 1 and "min_p, top_k" in first[0].notes[0]
    assert second[0].notes == ()
    assert len(server.record.bodies) == 3
    done = first[-1]
    assert isinstance(done, Done) and done.output_tokens == 3


async def test_a_request_that_always_fails_marks_no_field_as_refused(server: TinyServer) -> None:
    server.refused = {"messages"}
    backend = await backend_for(server)
    request = GenerateRequest("a", sampling=SamplingSettings(seed=7, max_new_tokens=3))
    with pytest.raises(ChatuiError, match="400"):
        await reply(backend, request)
    server.refused = set()
    events = await reply(backend, request)
    await backend.close()
    assert isinstance(events[0], Prefill) and events[0].notes == ()
    assert server.record.bodies[-1]["seed"] == 7
    assert server.record.bodies[-1]["max_tokens"] == 3


async def test_the_name_of_the_token_limit_is_remembered(server: TinyServer) -> None:
    server.refused = {"max_tokens"}
    server.advice = "; use max_completion_tokens instead"
    backend = await backend_for(server)
    for requests in (2, 3):
        events = await reply(backend, GenerateRequest("a", sampling=FEW))
        assert isinstance(events[0], Prefill) and events[0].notes == ()
        assert len(text_of(events)) == 8
        assert len(server.record.bodies) == requests
    await backend.close()


@pytest.mark.parametrize("format", [None, "gpt2-chinese"])
async def test_alternatives_come_with_each_token(server: TinyServer, format: str | None) -> None:
    backend = await backend_for(server, format)
    events = await reply(backend, GenerateRequest("abc", sampling=FEW, alternatives=3))
    await backend.close()
    tokens = [event for event in events if isinstance(event, Token)]
    assert len(tokens) == 8
    for token in tokens:
        assert len(token.alternatives) == 3
        assert token.alternatives[0].token == token.text  # this server takes the best
        assert token.alternatives[0].logit == token.logprob
        probabilities = [candidate.probability for candidate in token.alternatives]
        assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize("format", [None, "gpt2-chinese"])
async def test_inspect_shows_prompt_tokens_and_candidates(
    server: TinyServer, format: str | None
) -> None:
    backend = await backend_for(server, format)
    inspection = await backend.inspect(GenerateRequest("abc"), top=4)
    first = text_of(await reply(backend, GenerateRequest("abc", sampling=FEW)))[0]
    await backend.close()
    assert inspection.prompt == ("abc" if format else "<user>abc\n<assistant>")
    assert len(inspection.input_ids) == len(inspection.tokens) == inspection.context_used
    assert inspection.next[0].token == first
    assert len(inspection.next) == 4


async def test_rounds_that_do_not_fit_are_dropped_and_reported(server: TinyServer) -> None:
    backend = await backend_for(server)
    history = tuple((f"问{number}" * 4, "答" * 8) for number in range(10))
    events = await reply(backend, GenerateRequest("末", history=history, sampling=FEW))
    await backend.close()
    prefill, done = events[0], events[-1]
    assert isinstance(prefill, Prefill) and isinstance(done, Done)
    assert 0 < prefill.dropped_rounds < 10
    assert prefill.prompt_tokens == done.prompt_tokens <= CONTEXT - 8
    sent = server.record.bodies[-1]["messages"]
    assert len(sent) == 2 * (10 - prefill.dropped_rounds) + 1
    assert sent[0]["content"] == history[prefill.dropped_rounds][0]


async def test_a_prompt_too_long_for_the_server_is_sent_with_fewer_rounds(
    server: TinyServer,
) -> None:
    backend = await backend_for(server)
    assert backend._client is not None
    backend._client.context_limit, backend._client.tokenizer = 0, None  # as if it had told nothing
    history = tuple((f"问{number}" * 4, "答" * 8) for number in range(10))
    events = await reply(backend, GenerateRequest("末", history=history, sampling=FEW))
    assert isinstance(events[0], Prefill) and events[0].dropped_rounds > 0
    assert isinstance(events[-1], Done)
    with pytest.raises(ChatuiError, match="too long"):
        await reply(backend, GenerateRequest("长" * 300, sampling=FEW))
    await backend.close()


async def test_a_query_that_does_not_fit_alone_is_refused_with_the_numbers(
    server: TinyServer,
) -> None:
    backend = await backend_for(server)
    with pytest.raises(ChatuiError, match=str(CONTEXT)):
        await reply(backend, GenerateRequest("长" * 300, sampling=FEW))
    assert server.record.bodies == []
    await backend.close()


async def test_reasoning_becomes_a_think_part(server: TinyServer) -> None:
    server.thoughts = "想一想"
    backend = await backend_for(server)
    events = await reply(backend, GenerateRequest("abc", sampling=FEW))
    await backend.close()
    text = text_of(events)
    assert text.startswith("<think>想一想</think>")
    assert len(text.removeprefix("<think>想一想</think>")) == 8


async def test_thinking_is_switched_in_the_servers_template(server: TinyServer) -> None:
    backend = await backend_for(server)
    lengths = []
    for think, sent in ((None, None), (False, False), (True, True)):
        first, *_ = await reply(backend, GenerateRequest("abc", sampling=FEW, think=think))
        assert isinstance(first, Prefill)
        lengths.append(first.prompt_tokens)
        arguments = server.record.bodies[-1].get("chat_template_kwargs", {})
        assert arguments.get("enable_thinking") is sent
        assert arguments.get("thinking") is sent
    await backend.close()
    assert lengths[0] == lengths[2] < lengths[1], "what switches it off is counted"


async def test_a_server_without_a_thinking_switch_gives_a_note(server: TinyServer) -> None:
    server.refused = {"chat_template_kwargs"}
    for format, said in ((None, "chat_template_kwargs"), ("bloomz", "no switch for thinking")):
        backend = await backend_for(server, format)
        first, *_ = await reply(backend, GenerateRequest("abc", sampling=FEW, think=False))
        await backend.close()
        assert isinstance(first, Prefill)
        assert any(said in note for note in first.notes)


async def test_lone_surrogates_and_nul_can_be_sent(server: TinyServer) -> None:
    backend = await backend_for(server)
    events = await reply(backend, GenerateRequest("a\ud800b\x00", sampling=FEW))
    await backend.close()
    assert isinstance(events[-1], Done)
    assert server.record.bodies[-1]["messages"][0]["content"].startswith("a\ufffd")


async def test_the_key_comes_from_the_environment_and_is_shown_nowhere(
    server: TinyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TINY_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebody-elses")
    server.key = "sk-very-secret"
    entry = Server(url=server.url, key_env="TINY_KEY")
    spec = servers.spec_for(entry, "tiny")
    backend = OpenAIBackend()
    await loaded(backend, spec)
    events = await reply(backend, GenerateRequest("a", sampling=FEW))
    with pytest.raises(ChatuiError) as wrong_model:
        await loaded(backend, servers.spec_for(entry, "nothing"))
    await backend.close()
    assert server.record.headers[-1]["authorization"] == "Bearer sk-very-secret"
    assert [model.id for model in await servers.models_of(entry)] == ["tiny", "other"]
    for text in (caplog.text, repr(spec), repr(events), repr(backend.__dict__), str(wrong_model)):
        assert "very-secret" not in text and "somebody" not in text


async def test_a_missing_or_wrong_key_is_told_and_never_repeated(
    server: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebody-elses")
    server.key = "sk-very-secret"
    backend = OpenAIBackend()
    with pytest.raises(ChatuiError, match="needs an API key"):
        await loaded(backend, servers.spec_for(server.url))
    monkeypatch.setenv("TINY_KEY", "sk-wrong")
    with pytest.raises(ChatuiError, match="rejects the API key from TINY_KEY") as error:
        await loaded(backend, servers.spec_for(Server(url=server.url, key_env="TINY_KEY")))
    assert "sk-wrong" not in str(error.value)
    await backend.close()


async def test_no_key_of_the_environment_reaches_a_server_that_is_not_openai(
    server: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebody-elses")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-somebody-elses")
    backend = await backend_for(server)
    await reply(backend, GenerateRequest("a", sampling=FEW))
    await backend.close()
    assert "somebody" not in json.dumps(server.record.headers)
    assert "authorization" not in server.record.headers[-1]


async def test_a_failed_load_keeps_the_previous_model(server: TinyServer) -> None:
    backend = await backend_for(server)
    with pytest.raises(ChatuiError, match="it offers tiny, other"):
        await loaded(backend, servers.spec_for(server.url, "tinny"))
    assert isinstance((await reply(backend, GenerateRequest("a", sampling=FEW)))[-1], Done)
    await backend.close()


def test_an_adapter_of_a_listed_base_is_accepted() -> None:
    listed = (ListedModel("org/base", 4096), ListedModel("qwen3:0.6b"))
    assert choose_model(listed, "org/base:luotuo", "http://h/v1") == ListedModel(
        "org/base:luotuo", 4096
    )
    tagged = (ListedModel("qwen3", 4096), ListedModel("qwen3:0.6b", 8192))
    assert choose_model(tagged, "qwen3:0.6b", "http://h/v1") == tagged[1]
    with pytest.raises(ChatuiError):
        choose_model(listed, "org/baseline", "http://h/v1")


def test_a_model_is_found_without_its_owner() -> None:
    listed = (
        ListedModel("other/Qwen3-8B-AWQ"),
        ListedModel("Qwen/Qwen3-8B"),
        ListedModel("Qwen3-8B-AWQ"),
    )
    assert choose_model(listed, "Qwen3-8B", "http://h/v1").id == "Qwen/Qwen3-8B"
    assert choose_model(listed, "Qwen3-8B-AWQ", "http://h/v1").id == "Qwen3-8B-AWQ"


async def test_the_default_model_is_the_first_listed(server: TinyServer) -> None:
    backend = OpenAIBackend()
    spec = servers.spec_for(server.url)
    event = await loaded(backend, spec)
    again = await loaded(backend, replace(spec, name=event.name))
    # The window that the user asks for, and never more than the server has.
    for asked, limit in ((60, 60), (10**8, CONTEXT)):
        assert (await loaded(backend, replace(spec, context=asked))).context_limit == limit
    await backend.close()
    assert event.name == again.name == f"{spec.name}:tiny"
    assert event.context_limit == CONTEXT


def test_a_partial_reply_follows_the_rendered_prompt() -> None:
    belle = format_of(ModelSpec("m", "m", backend="openai", format="belle"))
    prompt = render(belle, (), "甲", None, "乙")
    assert isinstance(prompt, str)
    assert prompt.endswith("Human: 甲\n\nAssistant: 乙")


async def test_the_chat_api_cannot_continue_a_reply(server: TinyServer) -> None:
    backend = await backend_for(server)
    with pytest.raises(ChatuiError):
        await reply(backend, GenerateRequest("甲", partial_reply=PartialReply("乙")))
    await backend.close()
    assert not server.record.bodies


async def test_the_completions_api_continues_a_reply(server: TinyServer) -> None:
    backend = await backend_for(server, "gpt2-chinese")
    events = await reply(
        backend, GenerateRequest("abc", sampling=FEW, partial_reply=PartialReply("de"))
    )
    await backend.close()
    assert server.record.bodies[-1]["prompt"] == "abcde"
    assert isinstance(events[-1], Done)
    assert events[-1].text.startswith("de")
    assert not text_of(events).startswith("de")
