"""The OpenAI-compatible backend with a server that has vLLM's API and a tiny real model."""

from __future__ import annotations

import asyncio

import pytest
from tiny_server import CONTEXT, FEW, TinyServer, backend_for, loaded, reply, text_of

from chatui.backends import servers
from chatui.backends.openai.server_request import format_of, render
from chatui.errors import ChatuiError
from chatui.messages import (
    Done,
    GenerateRequest,
    ModelSpec,
    PartialReply,
    Prefill,
    ReplyEvent,
    Token,
)
from chatui.sampling import SamplingSettings


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


async def test_lone_surrogates_and_nul_can_be_sent(server: TinyServer) -> None:
    backend = await backend_for(server)
    events = await reply(backend, GenerateRequest("a\ud800b\x00", sampling=FEW))
    await backend.close()
    assert isinstance(events[-1], Done)
    assert server.record.bodies[-1]["messages"][0]["content"].startswith("a\ufffd")


async def test_a_failed_load_keeps_the_previous_model(server: TinyServer) -> None:
    backend = await backend_for(server)
    with pytest.raises(ChatuiError, match="it offers tiny, other"):
        await loaded(backend, servers.spec_for(server.url, "tinny"))
    assert isinstance((await reply(backend, GenerateRequest("a", sampling=FEW)))[-1], Done)
    await backend.close()


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
