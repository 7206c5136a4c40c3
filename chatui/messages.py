"""Messages: requests to a backend, and the events it answers with.

All are immutable and JSON-compatible; :mod:`chatui.wire` sends them through the engine's pipe.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from msgspec import Struct

from chatui.sampling import SamplingSettings

FinishReason: TypeAlias = Literal["eos", "stop", "length", "filter", "cancelled"]


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter to apply to a base model.

    Attributes:
        path: folder of a PEFT adapter, or file with a bare state dict.
        scale: factor on the adapter's own scaling; 1 is as trained.
        rank, alpha: for bare state dicts, which do not contain them; None infers them.
    """

    path: str
    scale: float = 1.0
    rank: int | None = None
    alpha: float | None = None


@dataclass(frozen=True)
class ModelSpec:
    """Everything a backend needs to load a model.

    Attributes:
        name: display name: a preset's, a folder's or a server model's.
        path: a folder of weights, a file (GGUF, RWKV .pth), or the model's id on a server.
        backend: entry point name in the group ``chatui.backends``: "local", "llama.cpp", "openai".
        family: e.g. "gpt2", "chatglm", "llama", "bloom", "moss", "rwkv"; None detects it.
        format: entry point or built-in name of the prompt format; None lets the engine choose.
        tokenizer: folder of the tokenizer, if not ``path``.
        adapters: applied in this order.
        merge_adapters: merge LoRA into the base weights: faster, but a change reloads the base.
        delta: folder of weights to add to the base's (Chimera).
        sampling: defaults of the preset.
        stop_strings: end the reply, in addition to the format's own.
        eos_ids: end the reply; empty uses the model's own.
        context_limit: the model's context window in tokens; None reads it from the config.
        context: smaller window to use; None uses as many tokens as fit in memory.
        reply_reserve: tokens that the prompt leaves free for the reply.
        system: system prompt; None uses the format's own.
        dtype: "auto", "float32", "bfloat16", "float16".
        weights: "plain" loads them unchanged, "int8" and "int4" quantise them while reading;
            "auto" quantises if they do not fit otherwise.
        weights_required: refuse a model whose weights cannot be quantised as ``weights`` says.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        device_map: accelerate's device map ("auto", "balanced", …); None for a single device.
        server: base URL of an OpenAI-compatible server, for that backend.
        key_env: name of the environment variable that holds the server's API key, never the key.
        notes: sentences to show once the model is loaded; become part of ``Loaded.notes``.
        think: whether the model thinks before it answers; None leaves it to the model.
    """

    name: str
    path: str
    backend: str = "local"
    family: str | None = None
    format: str | None = None
    tokenizer: str | None = None
    adapters: tuple[Adapter, ...] = ()
    merge_adapters: bool = False
    delta: str | None = None
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    stop_strings: tuple[str, ...] = ()
    eos_ids: tuple[int, ...] = ()
    context_limit: int | None = None
    context: int | None = None
    reply_reserve: int | None = None
    system: str | None = None
    dtype: str = "auto"
    weights: str = "auto"
    weights_required: bool = False
    device: str = "auto"
    device_map: str | None = None
    server: str | None = None
    key_env: str = ""
    notes: tuple[str, ...] = ()
    think: bool | None = None


class PartialReply(Struct, frozen=True):
    """The start of a reply that the model is to continue.

    Attributes:
        text: the raw text, before the format's clean-up.
        ids: its tokens, including those of an incomplete character; empty if not known, then
            ``text`` is encoded.
        next_id: the next token, chosen by the user; -1 samples it.
    """

    text: str
    ids: tuple[int, ...] = ()
    next_id: int = -1


@dataclass(frozen=True)
class GenerateRequest:
    """A query to answer.

    Attributes:
        query: the user's text.
        history: earlier rounds as (query, reply), oldest first.
        system: overrides the spec's system prompt; None keeps it.
        stop_strings: end the reply, in addition to the format's and the spec's.
        alternatives: number of best candidates that each token event reports.
        think: think before the answer, if the model has a switch; None leaves it to the model.
        partial_reply: the reply to continue; ``Done.text`` includes it, the ``Token`` events only
            what follows.
        window: limit of prompt and reply together in tokens; None uses the model's.
    """

    query: str
    history: tuple[tuple[str, str], ...] = ()
    system: str | None = None
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    stop_strings: tuple[str, ...] = ()
    alternatives: int = 0
    think: bool | None = None
    partial_reply: PartialReply | None = None
    window: int | None = None

    def limit(self, context_limit: int) -> int:
        """Return the context window of this reply in tokens, 0 if not known.

        Args:
            context_limit: the model's window; 0 if not known.
        """
        return min(filter(None, (self.window, context_limit)), default=0)


class Candidate(Struct, frozen=True):
    """A candidate for the next token: raw logit, and softmax probability over all logits."""

    id: int
    token: str
    logit: float
    probability: float


class Loading(Struct, frozen=True):
    """Progress of a load; ``total_bytes`` is 0 if not known."""

    stage: str
    done_bytes: int = 0
    total_bytes: int = 0


class Loaded(Struct, frozen=True):
    """The model is ready.

    Attributes:
        name: the spec's name, or the server's model if the spec names none.
        context_limit: context window in use, in tokens.
        device, dtype: of the weights, e.g. "cuda:0" and "int8".
        parameters: number of parameters; 0 if not known.
        weight_bytes: size of the weights in memory; 0 if not known.
        notes: sentences to show to the user, e.g. that beam search is replaced by sampling.
        free_bytes: free memory on the device before the load; 0 if not known.
        skipped_gpu: the GPU left unused because so small a model is faster on the CPU; "" for none.
        can_switch_thinking: whether ``GenerateRequest.think`` has an effect, if known.
        can_continue: whether ``GenerateRequest.partial_reply`` is supported.
    """

    name: str
    family: str
    format: str
    context_limit: int
    device: str = "cpu"
    dtype: str = "float32"
    parameters: int = 0
    weight_bytes: int = 0
    load_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    can_switch_thinking: bool = False
    can_continue: bool = True
    free_bytes: int = 0
    skipped_gpu: str = ""


class Prefill(Struct, frozen=True):
    """The prompt as the model reads it, sent before the first token.

    Attributes:
        prompt: the text, up to the start of the reply.
        input_ids, tokens: the prompt as ids and as pieces, with the partial reply; empty if the
            backend does not report them.
        position_ids: rows of positions as in ``Inspection``; empty if they are 0, 1, 2, ….
        prompt_tokens, context_limit: prompt and context window in tokens; 0 if not known.
        reused_tokens: leading tokens that were read from the KV cache.
        dropped_rounds: number of the oldest rounds left out because they did not fit.
        notes: sentences to show to the user, e.g. that a server refused a setting.
        memory_bytes: memory of the engine's process with weights and caches; 0 if not known.
    """

    prompt: str
    prompt_tokens: int = 0
    reused_tokens: int = 0
    context_limit: int = 0
    dropped_rounds: int = 0
    seed: int = 0
    notes: tuple[str, ...] = ()
    input_ids: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()
    position_ids: tuple[tuple[int, ...], ...] = ()
    memory_bytes: int = 0


class Token(Struct, frozen=True):
    """A generated token.

    Attributes:
        text: text that this token adds to the reply; "" while an incomplete character or a possible
            stop string is held back. Joined, the texts are ``Done.text`` before clean-up.
        id: token id; -1 if not known.
        logprob: natural log of the probability under the raw logits; None if not known.
        alternatives: the best candidates, if requested.
    """

    text: str
    id: int = -1
    logprob: float | None = None
    alternatives: tuple[Candidate, ...] = ()


class Done(Struct, frozen=True):
    """The reply is finished.

    Attributes:
        text: the reply after the format's clean-up.
        finish_reason: "eos", "stop" (a stop string), "length", "filter" (a server's content filter)
            or "cancelled".
        output_ids: generated ids, including the end token.
        seed: seed that reproduces the reply.
        first_token_seconds, total_seconds: since the request arrived.
    """

    text: str
    finish_reason: FinishReason
    output_ids: tuple[int, ...] = ()
    seed: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    first_token_seconds: float = 0.0
    total_seconds: float = 0.0


class Failed(Struct, frozen=True):
    """A load or a reply failed: one sentence for the user, and details for the log."""

    sentence: str
    detail: str = ""


class Inspection(Struct, frozen=True):
    """The prompt of a request and the best next tokens: the result of ``inspect``.

    Attributes:
        prompt, input_ids, tokens, dropped_rounds, notes: as in :class:`Prefill`.
        position_ids: rows of positions; one row for most families, two for ChatGLM-6B.
        context_used, context_limit: tokens.
        next: the best candidates for the next token, best first.
    """

    prompt: str
    input_ids: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()
    position_ids: tuple[tuple[int, ...], ...] = ()
    context_used: int = 0
    context_limit: int = 0
    dropped_rounds: int = 0
    next: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()


class Scored(Struct, frozen=True):
    """The probability of a given reply: the result of ``score``.

    Attributes:
        logprobs: natural log of each token's probability under the raw logits.
    """

    logprobs: tuple[float, ...] = ()


LoadEvent: TypeAlias = Loading | Loaded
ReplyEvent: TypeAlias = Prefill | Token | Done
Event: TypeAlias = Loading | Loaded | Prefill | Token | Done | Failed | Inspection | Scored
