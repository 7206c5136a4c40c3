"""Read tokens, the finish reason and token counts from a server's JSON chunks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from chatui.backends.openai.chunk_decoder import as_list, as_object, as_string, objects_in
from chatui.messages import Candidate, FinishReason, Token

_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_REASONS: dict[str, FinishReason] = {
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens"), "length"),
    # OpenAI, Zhipu, Gemini.
    **dict.fromkeys(("content_filter", "sensitive", "safety"), "filter"),
}


class ReplyReader:
    """Reads the chunks of one reply of the chat API or the completions API.

    Reasoning that a server separates from the reply (``reasoning_content``, or ``reasoning`` in
    OpenRouter, Ollama and new vLLM) becomes text between ``<think>`` and ``</think>``, and tool
    calls become text between ``<tool_call>`` and ``</tool_call>``. The halves of a surrogate pair
    in adjacent chunks are joined. Fields of unknown types are skipped.

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
        self._closing_tag = ""
        self._half = ""
        self._has_deltas = False

    @property
    def reason(self) -> FinishReason:
        """The finish reason as a ``FinishReason``."""
        # vLLM names the stop string.
        return "stop" if self._stopped_by_string else _REASONS.get(self.finish.casefold(), "eos")

    def read(self, chunk: dict[str, Any]) -> Iterator[Token]:
        """Yield the tokens of one decoded chunk."""
        usage = as_object(chunk.get("usage"))
        self.prompt_tokens = token_count(usage.get("prompt_tokens")) or self.prompt_tokens
        self.output_tokens = token_count(usage.get("completion_tokens")) or self.output_tokens
        choice = next(objects_in(chunk.get("choices")), None)
        if choice is None:
            return
        text = _text(choice.get("text")) + self._message(choice.get("delta"))
        self._has_deltas = self._has_deltas or bool(text)
        if not self._has_deltas:
            # MiniMax repeats the whole reply as a message at the end.
            text = self._message(choice.get("message"))
        finish = choice.get("finish_reason")
        # SGLang's own API has an object here.
        finish = as_string(as_object(finish).get("type") or finish)
        # DashScope's own API says "null" while the reply goes on.
        if finish and finish.casefold() != "null":
            text += self._close_tag()
            self.finish = finish
        text = self._join_surrogates(text, final=bool(self.finish))
        self._stopped_by_string |= isinstance(choice.get("stop_reason"), str)
        details = list(_token_details(as_object(choice.get("logprobs"))))
        # The last token carries the text of the chunk.
        for token_id, logprob, alternatives in details[:-1]:
            yield Token("", token_id, logprob, alternatives)
        self.begun = self.begun or bool(details or text)
        if details:
            yield Token(text, *details[-1])
        elif text:
            yield Token(text)

    def flush(self) -> str:
        """Return the text that was held back, after an end without a finish reason."""
        return self._join_surrogates(self._close_tag(), final=True)

    def _message(self, message: Any) -> str:
        """Return the text of a delta or a message, with tags around reasoning and tool calls."""
        if not isinstance(message, dict):
            return _text(message)
        reasoning = _text(message.get("reasoning_content") or message.get("reasoning"))
        # Mistral sends reasoning as parts of the content.
        for part in objects_in(message.get("content")):
            reasoning += _text(part.get("thinking"))
        content = _text(message.get("content")) + _text(message.get("refusal"))
        text = self._opened("<think>", "</think>", reasoning) if reasoning else ""
        if content:
            text += self._close_tag() + content
        for call in objects_in(message.get("tool_calls") or message.get("function_call")):
            text += self._call(as_object(call.get("function", call)))
        return text

    def _call(self, function: dict[str, Any]) -> str:
        """Return the text of a part of a tool call; the name opens the tag, arguments follow."""
        text = ""
        if name := as_string(function.get("name")):
            head = f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": '
            text = self._close_tag() + self._opened(head, "}\n</tool_call>\n", "")
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            return text + json.dumps(arguments, ensure_ascii=False)
        return text + as_string(arguments)

    def _opened(self, opening: str, closing: str, text: str) -> str:
        """Return ``text`` in a tag; the tag before is closed, unless it is the same."""
        if self._closing_tag != closing:
            text = self._close_tag() + opening + text
        self._closing_tag = closing
        return text

    def _close_tag(self) -> str:
        text, self._closing_tag = self._closing_tag, ""
        return text

    def _join_surrogates(self, text: str, final: bool) -> str:
        """Join surrogate pairs; unless ``final``, half a pair at the end is held back."""
        text, self._half = self._half + text, ""
        if not final and "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return _SURROGATE_PAIR.sub(_character, text)


def _token_details(
    logprobs: dict[str, Any],
) -> Iterator[tuple[int, float | None, tuple[Candidate, ...]]]:
    """Yield (id, log probability, candidates) of each token.

    The chat API (and llama-server in both) has a list of entries in ``content``; the completions
    API has parallel lists.
    """
    if entries := as_list(logprobs.get("content")):
        for entry in objects_in(entries):
            rows = objects_in(entry.get("top_logprobs"))
            best = ((_id_of(row), row.get("token"), row.get("logprob")) for row in rows)
            yield _id_of(entry), _logprob(entry.get("logprob")), _ranked(best)
        return
    values = as_list(logprobs.get("token_logprobs"))
    tops = as_list(logprobs.get("top_logprobs")) or [None] * len(values)
    for value, top in zip(values, tops, strict=False):
        best = ((-1, *pair) for pair in as_object(top).items())
        yield -1, _logprob(value), _ranked(best)


def _ranked(rows: Iterator[tuple[int, Any, Any]]) -> tuple[Candidate, ...]:
    """Return candidates, best first; their logits are log probabilities."""
    candidates = [
        Candidate(token_id, token, value, math.exp(value))
        for token_id, token, logprob in rows
        if isinstance(token, str) and (value := _logprob(logprob)) is not None
    ]
    return tuple(sorted(candidates, key=lambda candidate: -candidate.logit))


def _id_of(entry: dict[str, Any]) -> int:
    """Return the token id, which llama-server sends; -1 if there is none."""
    token_id = entry.get("id")
    return token_id if isinstance(token_id, int) else -1


def _logprob(value: Any) -> float | None:
    """Return a finite log probability, at most 0; None if the value is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(float(value), 0.0)


def token_count(value: Any) -> int:
    """Return a number of tokens, also from a string; 0 if the value is not one."""
    try:
        return 0 if isinstance(value, bool) else max(0, int(float(value)))
    except (TypeError, ValueError, OverflowError):
        return 0


def _text(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of parts."""
    if isinstance(content, list):
        return "".join(map(_text, content))
    if isinstance(content, dict):
        parts = (content.get(name) for name in ("text", "content", "refusal", "value"))
        return _text(next(filter(None, parts), ""))
    return as_string(content)


def _character(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")
