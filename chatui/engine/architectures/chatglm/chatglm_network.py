"""ChatGLM-6B for the decode loop: its prefill and decode step, codec and logits guard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from chatui.engine.architectures.chatglm.attention import (
    next_position_ids,
    prompt_position_ids,
    rotary_table,
)
from chatui.engine.architectures.chatglm.modeling import (
    RESIDUAL_SCALE,
    ChatGLMForCausalLM,
    guard_logits,
)
from chatui.engine.architectures.chatglm.quantisation import ChatGLMQuantisedLinear
from chatui.engine.architectures.chatglm.tokenization import ChatGLMDetokenizer
from chatui.engine.architectures.decoder.causal_attention import DecoderShape
from chatui.engine.architectures.decoder.decoder import Decoder, Stopped
from chatui.engine.architectures.decoder.fixed_cache import FixedCache
from chatui.engine.architectures.decoder.joined_linear import forward_of
from chatui.engine.architectures.decoder.transformers_decoder import fused_qkv_block, on_one_device
from chatui.engine.cache import new_cache
from chatui.engine.codec import Codec
from chatui.engine.memory import available_bytes
from chatui.engine.model import Guard
from chatui.prompting.prompt_text import TokenFinder, encode_continuation


class ChatGLMNetwork:
    """A loaded ChatGLM-6B with the positions of its current prompt.

    Attention in a prompt is bidirectional. A prompt is therefore read in one call, and its keys and
    values cannot be reused for a longer one.

    Args:
        model: the model, in evaluation mode.
        window: context window in tokens, which limits the cache.

    Attributes:
        decoder: the fast decoder; None if the model is spread over several devices, which then
            uses the model's own forward.
    """

    reuses_prefix = False

    def __init__(self, model: ChatGLMForCausalLM, window: int) -> None:
        self.model = model
        self._window = window
        self._device = model.get_input_embeddings().weight.device
        self._positions: Tensor | None = None
        # Cache slots of [gMASK] and <sop>, on the device because a captured step reads them.
        self._gmask, self._sop = torch.zeros(2, 1, dtype=torch.int64, device=self._device)
        self.decoder = self._build_decoder() if on_one_device(model) else None

    def new_cache(self) -> Any:
        if self.decoder is not None:
            return self.decoder.new_cache(self._window + (self.model.config.pre_seq_len or 0))
        return new_cache(self.model.config, self._window)

    @torch.inference_mode()
    def prefill(
        self, ids: Sequence[int], cache: Any, stop_wanted: Callable[[], bool]
    ) -> Tensor | None:
        """Read a whole prompt, which ends with [gMASK] and <sop>, into an emptied cache.

        See :meth:`chatui.engine.model.Network.prefill`.
        """
        if stop_wanted():
            return None
        input_ids = torch.tensor([ids])
        self._positions = prompt_position_ids(input_ids, self.model.config)
        if self.decoder is None:
            self._positions = self._positions.to(self._device)
            return self._forward(input_ids.to(self._device), self._positions, cache)
        prefix = self._fill_prefix(cache)
        sop = ids.index(self.model.config.bos_token_id)
        self._sop.fill_(prefix + sop)
        self._gmask.fill_(prefix + int(self._positions[0, 0, sop]))
        cache.bidirectional = prefix + sop
        with suppress(Stopped), self.decoder.stopped_by(stop_wanted):
            return self.decoder.read_all(ids, cache, last=1)[0].float()
        return None

    @property
    def accepts_device_token(self) -> bool:
        """True if ``step`` also takes a token as a tensor on the device, int64 ``[]``."""
        return self.decoder is not None and self.decoder.windowed

    @torch.inference_mode()
    def step(self, token: int | Tensor, cache: Any) -> Tensor:
        if self.decoder is not None:
            return self.decoder.read((token,), cache).float()
        assert self._positions is not None, "a prompt has to be read first"
        self._positions = next_position_ids(self._positions)
        return self._forward(torch.tensor([[token]], device=self._device), self._positions, cache)

    def position_rows(self, length: int) -> tuple[tuple[int, ...], ...]:
        """Return both rows of positions of a prompt of `length` tokens, with [gMASK] and <sop>."""
        context = length - 1
        first = (*range(context), context - 1)
        return (first, (*(0,) * context, 1))

    def _forward(self, input_ids: Tensor, positions: Tensor, cache: Any) -> Tensor:
        output = self.model(input_ids, positions, cache, logits_to_keep=1)
        logits: Tensor = output.logits[0, -1].float()
        return logits

    def _build_decoder(self) -> Decoder:
        body: Any = self.model.transformer
        config = self.model.config
        heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        shape = DecoderShape(
            heads, heads, width, width**-0.5, "rows", width, normed_residual_scale=RESIDUAL_SCALE
        )
        blocks = [fused_qkv_block(layer, "attention", heads) for layer in body.layers]
        like, tokens = body.final_layernorm.weight.detach(), forward_of(body.word_embeddings)

        def angles(slots: Tensor) -> tuple[Tensor, Tensor]:
            """Return cosines and sines for both rows of positions, each `[rows, 2, width / 4]`."""
            prefix = config.pre_seq_len or 0
            first = torch.where(slots < self._sop, slots, self._gmask) - prefix
            second = (slots - self._sop + 1).clamp(min=0)
            table = rotary_table(torch.stack((first, second))[None], width, like.dtype)
            cosines, sines = table[:, 0, :, 0, 0]
            return cosines, sines

        return Decoder(
            shape,
            lambda ids, _: tokens(ids),
            blocks,
            body.final_layernorm,
            self.model.lm_head,
            angles,
        )

    def _fill_prefix(self, cache: FixedCache) -> int:
        """Empty the cache, put the P-Tuning prefix into it, and return its length in tokens."""
        encoder = self.model.transformer.prefix_encoder
        if encoder is None:
            cache.move_to(0)
            return 0
        cache.reserve(encoder.length)
        for layer, (keys, values) in zip(
            cache.layers, encoder(1, cache.layers[0].keys.dtype), strict=True
        ):
            layer.keys[:, : encoder.length] = keys[0]
            layer.values[:, : encoder.length] = values[0]
        cache.move_to(encoder.length)
        return encoder.length


def chatglm_parts(tokenizer: Any, model: Any, window: int) -> tuple[Codec, Guard, ChatGLMNetwork]:
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
