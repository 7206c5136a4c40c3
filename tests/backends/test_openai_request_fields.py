"""The fields of requests, and those that a server refuses."""

from __future__ import annotations

import pytest
from tiny_server import FEW, TinyServer, backend_for, reply, text_of

from chatui.errors import ChatuiError
from chatui.messages import Done, GenerateRequest, Prefill, Token
from chatui.sampling import SamplingSettings


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


def test_fields_dropped_after_a_refusal() -> None:
    from chatui.backends.openai.server_request import drop_refused_fields

    fields = {
        "model": "m",
        "messages": [],
        "top_k": 5,
        "seed": 1,
        "temperature": 0.5,
        "stop": ["a"],
    }
    left = drop_refused_fields(fields, "Unrecognized request argument supplied: top_k")
    assert left is not None and set(fields) - set(left) == {"top_k"}
    left = drop_refused_fields(fields, "bad request")
    assert left is not None and set(fields) - set(left) == {"top_k", "seed"}
    left = drop_refused_fields(left, "bad request")
    assert left is not None and set(left) == {"model", "messages", "stop"}
    left = drop_refused_fields(left, "bad request")
    assert left is not None and set(left) == {"model", "messages"}
    assert drop_refused_fields(left, "bad request") is None
    many = {"stop": list("abcdef")}
    assert drop_refused_fields(many, "'stop' takes at most 4") == {"stop": list("abcd")}
    assert drop_refused_fields({"max_tokens": 5}, "use max_completion_tokens instead") == {
        "max_completion_tokens": 5
    }
