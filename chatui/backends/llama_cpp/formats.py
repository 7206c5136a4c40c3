"""Which prompt format a GGUF file is read with: ours, or the chat template inside the file.

Imported in llama.cpp's own process alone.
"""

from __future__ import annotations

from chatui.backends.llama_cpp.model import GgufModel
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.prompting import formats
from chatui.prompting.chat_template import chat_template_format
from chatui.prompting.families import CHAT_TEMPLATE, format_of
from chatui.prompting.format import PromptFormat

_OF_ONE_MAKER = ("bloom", "gpt2", "rwkv")
"""Architectures that tell the format; "llama" and others without a template are base models."""


def format_for(spec: ModelSpec, model: GgufModel) -> PromptFormat:
    """The spec's format; where it names none, the file's template, else its architecture's.

    Raises:
        ChatuiError: there is no such format, or the template is missing or broken.
    """
    if spec.format not in (None, CHAT_TEMPLATE):
        return formats.get(spec.format)
    template = model.template()
    if template is not None:
        return chat_template_format(template, "GGUF: tokenizer.chat_template")
    if spec.format == CHAT_TEMPLATE:
        raise ChatuiError(say("backends.llama.no_template", path=model.path))
    family = model.architecture if model.architecture in _OF_ONE_MAKER else ""
    return formats.get(format_of(family, has_chat_template=False))
