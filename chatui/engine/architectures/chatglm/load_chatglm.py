"""The codec, logits guard and network of a loaded ChatGLM-6B."""

from __future__ import annotations

from typing import Any

from chatui.engine.architectures.chatglm.chatglm_network import ChatGLMNetwork
from chatui.engine.architectures.chatglm.modeling import guard_logits
from chatui.engine.architectures.chatglm.quantisation import ChatGLMQuantisedLinear
from chatui.engine.architectures.chatglm.streaming import ChatGLMDetokenizer
from chatui.engine.codec import Codec
from chatui.engine.memory import available_bytes
from chatui.engine.model import Guard, Network
from chatui.prompting.prompt_text import TokenFinder, encode_continuation


def chatglm_parts(tokenizer: Any, model: Any, window: int) -> tuple[Codec, Guard, Network]:
    """Return the codec, logits guard and network of a loaded ChatGLM-6B.

    Args:
        window: context window in tokens.
    """
    packed = [module for module in model.modules() if isinstance(module, ChatGLMQuantisedLinear)]
    # Widening int4 to 8 bits doubles its memory; it may take half of the free memory.
    more = sum(module.weight.nbytes for module in packed)
    widen = bool(packed) and 2 * more <= available_bytes(packed[0].weight.device)
    for module in packed:
        module.prepare_weight(widen=widen)

    def encode_plain(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    codec = Codec(
        encode=tokenizer.encode,
        piece=lambda id: str(tokenizer.convert_ids_to_tokens(id) or ""),
        detokenizer=lambda: ChatGLMDetokenizer(tokenizer, tokenizer.all_special_ids),
        # [gMASK] and </s> in a text are plain text.
        special=TokenFinder(tokenizer.all_special_tokens),
        encode_continuation=lambda text: encode_continuation(text, encode_plain),
    )
    space = model.config.space_token_id
    return codec, lambda logits: guard_logits(logits, space), ChatGLMNetwork(model, window)
