"""Read tokens, the finish reason and token counts from a server's JSON chunks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from chatui.backends.openai.chunk_decoder import objects_in
from chatui.messages import Candidate, FinishReason, Token

_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# OpenAI, Zhipu, Gemini.
_ENDS_BY_FILTER = frozenset(("content_filter", "sensitive", "safety"))
_ENDS_AT_LENGTH = frozenset(("length", "max_tokens", "max_output_tokens"))


class ReplyReader:
    """Reads the chunks of one reply of the chat API or the completions API.

    Reasoning that a server separates from the reply (``reasoning_content``, or ``reasoning`` in
    OpenRouter, Ollama and new vLLM) becomes text between ``<think>`` and ``</think>``, and tool
    calls become text between ``<tool_call>`` and ``</tool_call>``. The halves of a surrogate pair
    in adjacent chunks are joined.

    Attributes:
        begun: True after the first text.
        finish: the server's finish reason; "" until the end.
        prompt_tokens, output_tokens: the latest counts; 0 until they are known.
    """

    def __init__(self) -> None:
        self.begun = False
        self.finish = ""
        self.prompt_tokens = 0
        self.output_tokens = 0
        self._stopped_by_string = False
        self._thinking = False
        self._calling = False
        self._half = ""
        self._has_deltas = False

    @property
    def reason(self) -> FinishReason:
        """The finish reason as a ``FinishReason``."""
        # vLLM names the stop string.
        if self._stopped_by_string:
            return "stop"
        if self.finish.casefold() in _ENDS_AT_LENGTH:
            return "length"
        return "filter" if self.finish.casefold() in _ENDS_BY_FILTER else "eos"

    def read(self, chunk: Mapping[str, Any]) -> list[Token]:
        """Return the tokens of one decoded chunk; fields of unknown types are skipped."""
        usage = chunk.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        self.prompt_tokens = token_count(usage.get("prompt_tokens")) or self.prompt_tokens
        self.output_tokens = token_count(usage.get("completion_tokens")) or self.output_tokens
        choice = next(objects_in(chunk.get("choices")), None)
        if choice is None:
            return []
        finish = choice.get("finish_reason")
        # SGLang's own API has an object here.
        finish = finish.get("type") if isinstance(finish, dict) else finish
        # DashScope's own API says "null" while the reply goes on.
        finish = finish if isinstance(finish, str) and finish.casefold() != "null" else ""
        text = _text(choice.get("text")) + self._message(choice.get("delta"))
        self._has_deltas = self._has_deltas or bool(text)
        if not self._has_deltas:
            # MiniMax repeats the whole reply as a message at the end.
            text = self._message(choice.get("message"))
        if finish:
            text += self._close_tags()
        text = self._join_surrogates(text, final=bool(finish))
        self.finish = finish or self.finish
        self._stopped_by_string |= isinstance(choice.get("stop_reason"), str)
        tokens = list(token_events(text, choice.get("logprobs")))
        self.begun = self.begun or bool(tokens)
        return tokens

    def flush(self) -> str:
        """Return the text that was held back, after an end without a finish reason."""
        return self._join_surrogates(self._close_tags(), final=True)

    def _message(self, message: Any) -> str:
        """Return the text of a delta or a message, with tags around reasoning and tool calls."""
        if not isinstance(message, dict):
            return _text(message)
        reasoning = _text(message.get("reasoning_content") or message.get("reasoning"))
        # Mistral sends reasoning as parts of the content.
        for part in objects_in(message.get("content")):
            reasoning += _text(part.get("thinking"))
        content = _text(message.get("content")) + _text(message.get("refusal"))
        calls = message.get("tool_calls") or message.get("function_call")
        text = ""
        if reasoning:
            text = reasoning if self._thinking else self._close_tags() + "<think>" + reasoning
            self._thinking = True
        if content:
            text += self._close_tags() + content
        for call in calls if isinstance(calls, list) else [calls] if calls else []:
            text += self._call(call)
        return text

    def _call(self, call: Any) -> str:
        """Return the text of a part of a tool call; the name opens the tag, arguments follow."""
        function = call.get("function", call) if isinstance(call, dict) else {}
        if not isinstance(function, dict):
            return ""
        text = ""
        name, arguments = function.get("name"), function.get("arguments")
        if isinstance(name, str) and name:
            text = self._close_tags() + f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": '
            self._calling = True
        if isinstance(arguments, dict):
            return text + json.dumps(arguments, ensure_ascii=False)
        return text + (arguments if isinstance(arguments, str) else "")

    def _close_tags(self) -> str:
        text = "</think>" if self._thinking else "}\n</tool_call>\n" if self._calling else ""
        self._thinking = self._calling = False
        return text

    def _join_surrogates(self, text: str, final: bool) -> str:
        """Join surrogate pairs; unless ``final``, half a pair at the end is held back."""
        text, self._half = self._half + text, ""
        if not final and "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return _SURROGATE_PAIR.sub(_character, text)


def token_events(text: str, logprobs: Any) -> Iterator[Token]:
    """Yield one event for each reported token; the last one carries the text of the chunk."""
    details = list(_details(logprobs)) if isinstance(logprobs, dict) else []
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
    """Yield (id, log probability, candidates) of each token.

    The chat API (and llama-server in both) has a list of entries in ``content``; the completions
    API has parallel lists.
    """
    entries = logprobs.get("content")
    if isinstance(entries, list) and entries:
        for entry in objects_in(entries):
            rows = objects_in(entry.get("top_logprobs"))
            best = ((_id_of(row), row.get("token"), row.get("logprob")) for row in rows)
            yield _id_of(entry), _number(entry.get("logprob")), _ranked(best)
        return
    values, tops = logprobs.get("token_logprobs"), logprobs.get("top_logprobs")
    values = values if isinstance(values, list) else []
    tops = tops if isinstance(tops, list) else [None] * len(values)
    for value, top in zip(values, tops, strict=False):
        best = ((-1, *pair) for pair in (top.items() if isinstance(top, dict) else ()))
        yield -1, _number(value), _ranked(best)


def _ranked(rows: Iterator[tuple[int, Any, Any]]) -> tuple[Candidate, ...]:
    """Return candidates, best first; their logits are log probabilities."""
    candidates = [
        Candidate(token_id, token, value, math.exp(value))
        for token_id, token, logprob in rows
        if isinstance(token, str) and (value := _number(logprob)) is not None
    ]
    return tuple(sorted(candidates, key=lambda candidate: -candidate.logit))


def _id_of(entry: Mapping[str, Any]) -> int:
    """Return the token id, which llama-server sends; -1 if there is none."""
    token_id = entry.get("id")
    return token_id if isinstance(token_id, int) else -1


def _number(value: Any) -> float | None:
    """Return a finite log probability, at most 0; None if the value is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(float(value), 0.0)


def token_count(value: Any) -> int:
    """Return a number of tokens, also from a string; 0 if the value is not one."""
    if isinstance(value, bool):
        return 0
    try:
        return max(0, int(float(value))) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0


def _text(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(_text, content))
    if isinstance(content, dict):
        for name in ("text", "content", "refusal", "value"):
            if content.get(name):
                return _text(content[name])
    return ""


def _character(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")
