"""From a server's stream of chunks to tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chatui.messages import Candidate, Token


@dataclass(frozen=True)
class Piece:
    """What one chunk adds.

    Attributes:
        tokens: text, with log probabilities where they were asked for and given.
        finish: the server's reason to end, once it has one.
        stopped_by_string: whether the server says that a stop string ended the reply (vLLM does).
        prompt_tokens, output_tokens: counts, where the chunk tells them; else 0.
    """

    tokens: tuple[Token, ...] = ()
    finish: str = ""
    stopped_by_string: bool = False
    prompt_tokens: int = 0
    output_tokens: int = 0


class ChunkReader:
    """Reads the chunks of one reply, of the chat API or of the completions API.

    The reasoning that some servers take apart from the reply (``reasoning_content``, or
    ``reasoning`` in OpenRouter, Ollama and new vLLM) becomes text between ``<think>`` and
    ``</think>`` again, as the model wrote it.
    """

    def __init__(self) -> None:
        self._thinking = False

    def read(self, chunk: Any) -> Piece:
        """The piece of one chunk, as decoded from JSON.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: this is no chunk of either API.
        """
        usage = chunk.get("usage") or {}
        prompt_tokens = usage.get("prompt_tokens") or 0
        output_tokens = usage.get("completion_tokens") or 0
        choices = chunk["choices"]
        if not choices:
            return Piece(prompt_tokens=prompt_tokens, output_tokens=output_tokens)
        choice = choices[0]
        finish = choice.get("finish_reason") or ""
        text = choice["text"] if "text" in choice else self._text_of(choice.get("delta"))
        if finish and self._thinking:
            text, self._thinking = text + "</think>", False
        return Piece(
            tuple(tokens_of(text + "", choice.get("logprobs"))),
            finish,
            isinstance(choice.get("stop_reason"), str),
            prompt_tokens,
            output_tokens,
        )

    def _text_of(self, delta: Any) -> str:
        """The delta's reasoning and content, with the marks between the two."""
        if not delta:
            return ""
        content: str = delta.get("content") or ""
        reasoning: str = delta.get("reasoning_content") or delta.get("reasoning") or ""
        text = ""
        if reasoning:
            text = reasoning if self._thinking else "<think>" + reasoning
            self._thinking = True
        if content and self._thinking:
            text += "</think>"
            self._thinking = False
        return text + content


def tokens_of(text: str, logprobs: Any) -> Iterator[Token]:
    """One token event for each that the server tells of; the last carries the chunk's text."""
    details = list(_details(logprobs)) if logprobs else []
    if not details:
        if text:
            yield Token(text)
        return
    last = len(details) - 1
    for position, (token_id, logprob, alternatives) in enumerate(details):
        yield Token(text if position == last else "", token_id, logprob, alternatives)


def _details(
    logprobs: Mapping[str, Any],
) -> Iterator[tuple[int, float | None, tuple[Candidate, ...]]]:
    """(id, log probability, candidates) of each token.

    The chat API (and llama-server everywhere) has a list of entries under ``content``, the
    completions API parallel lists.
    """
    if logprobs.get("content"):
        for entry in logprobs["content"]:
            best = entry.get("top_logprobs") or ()
            yield _id_of(entry), entry.get("logprob"), _ranked(_candidate(other) for other in best)
        return
    values = logprobs.get("token_logprobs") or []
    tops = logprobs.get("top_logprobs") or [None] * len(values)
    for value, top in zip(values, tops, strict=False):
        best = (top or {}).items()
        yield -1, value, _ranked(_scored(-1, token, logprob) for token, logprob in best)


def _candidate(entry: Mapping[str, Any]) -> Candidate:
    return _scored(_id_of(entry), entry["token"], entry["logprob"])


def _id_of(entry: Mapping[str, Any]) -> int:
    """llama-server tells the token's id beside its text."""
    token_id = entry.get("id")
    return token_id if isinstance(token_id, int) else -1


def _scored(token_id: int, token: str, logprob: float) -> Candidate:
    """A server gives log probabilities, which are logits up to a constant."""
    return Candidate(token_id, token, logprob, math.exp(logprob))


def _ranked(candidates: Iterator[Candidate]) -> tuple[Candidate, ...]:
    return tuple(sorted(candidates, key=lambda candidate: -candidate.logit))
