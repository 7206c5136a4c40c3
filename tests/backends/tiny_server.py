"""A small server with vLLM's API and a tiny real model.

It always takes the best token, counts tokens with the model's tokenizer, and records the requests
and whether a reply was cut off.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from chatui.backends import servers
from chatui.backends.openai.backend import OpenAIBackend
from chatui.messages import GenerateRequest, Loaded, ModelSpec, ReplyEvent, Token
from chatui.sampling import SamplingSettings

CONTEXT = 256


TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_model(folder: Path) -> Path:
    """A tiny Llama with random weights, a byte-level tokenizer and a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=258, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator([""], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    # Bytes of ASCII letters alone, and no end: every token is a character that a test can see.
    letters = [tokenizer.token_to_id(chr(code)) for code in range(ord("a"), ord("z") + 1)]
    with torch.no_grad():
        silent = torch.ones(len(fast), dtype=torch.bool)
        silent[letters] = False
        model.lm_head.weight[silent] *= 0.01
        model.lm_head.weight[~silent] *= 20
    model.save_pretrained(folder)
    return folder


@dataclass
class Record:
    """What the server saw."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    tokens_sent: int = 0
    cut_off: threading.Event = field(default_factory=threading.Event)

    def clear(self) -> None:
        self.bodies.clear()
        self.headers.clear()
        self.tokens_sent = 0
        self.cut_off.clear()


class TinyServer:
    """The application; ``refused`` are field names that it answers with 400 and ``advice``."""

    def __init__(self, folder: Path) -> None:
        self.model = LlamaForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        self.record = Record()
        self.refused: set[str] = set()
        self.advice = ""
        self.key = ""
        self.thoughts = ""
        self.tells_pieces = True
        self.breaks_after = 0
        self.url = ""
        post = ["POST"]
        self.app = Starlette(
            routes=[
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.complete, methods=post),
                Route("/v1/completions", self.complete, methods=post),
                Route("/tokenize", self.tokenize, methods=post),
                Route("/detokenize", self.detokenize, methods=post),
            ]
        )

    async def models(self, request: Request) -> Response:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": {"message": "Unauthorized"}}, 401)
        model = {"id": "tiny", "object": "model", "max_model_len": CONTEXT}
        return JSONResponse({"object": "list", "data": [model, {"id": "other"}]})

    async def tokenize(self, request: Request) -> Response:
        body = await request.json()
        if "prompt" not in body and "messages" not in body:
            return JSONResponse({"error": {"message": "prompt is missing"}}, 400)
        ids = self.ids(body)
        told = self.tells_pieces and body.get("return_token_strs")
        pieces = self.tokenizer.convert_ids_to_tokens(ids) if told else None
        answer = {"count": len(ids), "max_model_len": CONTEXT, "tokens": ids, "token_strs": pieces}
        return JSONResponse(answer)

    async def detokenize(self, request: Request) -> Response:
        return JSONResponse({"prompt": self.tokenizer.decode((await request.json())["tokens"])})

    def ids(self, body: dict[str, Any]) -> list[int]:
        if "messages" in body:
            text = self.tokenizer.apply_chat_template(
                body["messages"], tokenize=False, add_generation_prompt=True
            )
            if body.get("chat_template_kwargs", {}).get("enable_thinking") is False:
                text += "<think>\n\n</think>\n\n"
        else:
            text = body["prompt"]
        ids: list[int] = self.tokenizer.encode(text)
        return ids

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.record.bodies.append(body)
        self.record.headers.append(dict(request.headers))
        if body["model"] != "tiny":
            return JSONResponse({"error": {"message": f"no {body['model']}"}}, 404)
        wrong = self.refused & set(body)
        if wrong:
            message = f"Extra inputs are not permitted: {sorted(wrong)}{self.advice}"
            return JSONResponse({"error": {"message": message, "code": 400}}, 400)
        ids = self.ids(body)
        asked = body.get("max_tokens") or body.get("max_completion_tokens")
        limit = asked or (16 if "prompt" in body else CONTEXT - len(ids))
        if len(ids) + (asked or 1) > CONTEXT:
            message = f"This model's maximum context length is {CONTEXT} tokens."
            return JSONResponse({"error": {"message": message}}, 400)
        if body.get("stream"):
            return StreamingResponse(
                self.events(request, body, ids, limit), media_type="text/event-stream"
            )
        chunks = [chunk async for chunk in self.chunks(body, ids, limit)]
        return JSONResponse(chunks[0] | {"usage": chunks[-1]["usage"]})

    async def events(
        self, request: Request, body: dict[str, Any], ids: list[int], limit: int
    ) -> AsyncIterator[str]:
        whole = False
        try:
            async for chunk in self.chunks(body, ids, limit):
                yield f"data: {json.dumps(chunk)}\n\n"
                self.record.tokens_sent += 1
                if self.record.tokens_sent == self.breaks_after:
                    yield 'data: {"error": {"message": "CUDA out of memory"}}\n\n'
                    return
            yield "data: [DONE]\n\n"
            whole = True
        finally:
            if not whole:
                self.record.cut_off.set()

    async def chunks(
        self, body: dict[str, Any], ids: list[int], limit: int
    ) -> AsyncIterator[dict[str, Any]]:
        chat = "messages" in body
        text = ""
        if chat and self.thoughts:
            for part in self.thoughts:
                yield {"choices": [{"delta": {"reasoning_content": part}, "finish_reason": None}]}
        cache, new = None, torch.tensor([ids])
        for count in range(limit):
            with torch.no_grad():
                output = self.model(new, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            logprobs = torch.log_softmax(output.logits[0, -1], 0)
            token = int(logprobs.argmax())
            new = torch.tensor([[token]])
            piece = self.tokenizer.decode([token])
            text += piece
            stop = next((s for s in body.get("stop") or [] if s in text), None)
            if stop is not None:
                piece = piece if stop not in piece else ""
            finish = "stop" if stop else "length" if count == limit - 1 else None
            choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "stop_reason": stop}
            if chat:
                choice["delta"] = {"content": piece}
            else:
                choice["text"] = piece
            choice["logprobs"] = self.logprobs(body, token, logprobs, chat)
            yield {"choices": [choice]}
            if finish:
                break
            # vLLM's steps are no faster, and a client's stop must have time to arrive.
            await asyncio.sleep(0.002)
        usage = {"prompt_tokens": len(ids), "completion_tokens": count + 1}
        if (body.get("stream_options") or {}).get("include_usage") or not body.get("stream"):
            yield {"choices": [], "usage": usage}

    def logprobs(
        self, body: dict[str, Any], token: int, logprobs: torch.Tensor, chat: bool
    ) -> dict[str, Any] | None:
        wanted = body.get("top_logprobs", 0) if chat else body.get("logprobs", 0)
        if not wanted:
            return None
        values, ids = torch.topk(logprobs, wanted)
        best = [
            (self.tokenizer.decode([i]), v)
            for i, v in zip(ids.tolist(), values.tolist(), strict=True)
        ]
        piece, value = self.tokenizer.decode([token]), float(logprobs[token])
        if chat:
            top = [{"token": name, "logprob": v} for name, v in best]
            return {"content": [{"token": piece, "logprob": value, "top_logprobs": top}]}
        return {"tokens": [piece], "token_logprobs": [value], "top_logprobs": [dict(best)]}


@contextmanager
def serving(server: TinyServer) -> Iterator[TinyServer]:
    """Serve on a free port of the loopback, in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        runner = uvicorn.Server(uvicorn.Config(server.app, log_level="error"))
        thread = threading.Thread(target=runner.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 10
        while not runner.started and time.monotonic() < deadline:
            time.sleep(0.01)
        server.url = f"http://127.0.0.1:{port}/v1"
        try:
            yield server
        finally:
            runner.should_exit = True
            thread.join(10)


FEW = SamplingSettings(max_new_tokens=8)


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
