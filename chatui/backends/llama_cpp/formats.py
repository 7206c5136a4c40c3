"""Which prompt format a GGUF file is read with: ours, or the chat template inside the file.

Imported in llama.cpp's own process alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chatui.backends.llama_cpp.model import GgufModel
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.prompting import formats
from chatui.prompting.format import Exchange, PromptFormat

_WITHOUT_TEMPLATE = {"gpt2": "gpt2-chinese", "bloom": "bloomz", "rwkv": "chatrwkv"}
_BARE_TEXT = "bloomz"


def format_for(spec: ModelSpec, model: GgufModel) -> PromptFormat:
    """The spec's format; where it names none, the file's template, else its architecture's.

    Raises:
        ChatuiError: there is no such format, or the template is missing or broken.
    """
    if spec.format not in (None, formats.CHAT_TEMPLATE):
        return formats.get(spec.format)
    template = model.template()
    if template is not None:
        return _from_template(template)
    if spec.format == formats.CHAT_TEMPLATE:
        raise ChatuiError(say("backends.llama.no_template", path=model.path))
    return formats.get(_WITHOUT_TEMPLATE.get(model.architecture, _BARE_TEXT))


def _from_template(template: Any) -> PromptFormat:
    def apply(messages: list[dict[str, str]]) -> str:
        try:
            prompt: str = template(messages=messages).prompt
        except Exception as error:
            # Templates are programs of others: Jinja's errors and whatever they raise themselves.
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise ChatuiError(say("backends.llama.bad_template", reason=reason)) from error
        return prompt

    def render(history: Sequence[Exchange], query: str, system: str | None) -> str:
        messages = [
            {"role": role, "content": content}
            for exchange in history
            for role, content in zip(("user", "assistant"), exchange, strict=True)
        ]
        messages.append({"role": "user", "content": query})
        if not system:
            return apply(messages)
        try:
            prompt = apply([{"role": "system", "content": system}, *messages])
            if system.strip() in prompt:
                return prompt
        except ChatuiError:
            pass
        # The template refuses or ignores system messages: the first query carries it.
        first = {"role": "user", "content": f"{system}\n\n{messages[0]['content']}"}
        return apply([first, *messages[1:]])

    return PromptFormat(formats.CHAT_TEMPLATE, render, source="GGUF: tokenizer.chat_template")
