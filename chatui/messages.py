"""Messages between the packages and processes: requests to a backend, and its events.

Requests go down, events come up. Each is a frozen value that survives JSON
(:mod:`chatui.wire` writes them onto the engine's pipe).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from msgspec import Struct

from chatui.sampling import SamplingSettings

FinishReason: TypeAlias = Literal["eos", "stop", "length", "filter", "cancelled"]


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter to put on a base model.

    Attributes:
        path: folder of a PEFT adapter or file of a bare state dict.
        scale: factor on the adapter's own scaling; 1 is as trained.
        rank: for bare state dicts, which do not state it; None infers it.
        alpha: likewise.
    """

    path: str
    scale: float = 1.0
    rank: int | None = None
    alpha: float | None = None


@dataclass(frozen=True)
class ModelSpec:
    """Everything that a backend needs to load a model: the catalog's answer to a reference.

    Attributes:
        name: what is shown; a preset's name or the folder's or server model's name.
        path: a folder of weights, a file (GGUF, RWKV .pth), or the model's id on a server.
        backend: entry point name in the group ``chatui.backends``: "local", "llama.cpp", "openai".
        family: e.g. "gpt2", "chatglm", "llama", "bloom", "moss", "rwkv"; None lets the engine see.
        format: entry point or built-in name of the prompt format; None lets the engine choose.
        tokenizer: folder of the tokenizer, if not ``path``.
        adapters: put on in this order.
        merge_adapters: add their LoRA pairs to the weights for good: decode is faster, and other
            adapters need the base to be loaded again.
        delta: folder of weights that are added to the base's (Chimera); None for none.
        sampling: defaults of the preset.
        stop_strings: end the reply, in addition to the format's own.
        eos_ids: end the reply; empty takes the model's own.
        context_limit: the model's window in tokens, prompt and reply together; None takes the
            config's.
        context: the window that is used, if it is smaller; None takes as many tokens as fit.
        reply_reserve: tokens that the prompt leaves free for the reply.
        system: system prompt; None takes the format's own.
        dtype: "auto", "float32", "bfloat16", "float16".
        weights: "plain" as they are, "int8" or "int4" quantises them while they are read; "auto"
            does if they do not fit otherwise.
        weights_required: refuse a model whose weights cannot be quantised as ``weights`` says.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        device_map: accelerate's device map ("auto", "balanced", …); None for a single device.
        server: base URL of an OpenAI-compatible server, for that backend.
        key_env: name of the environment variable that holds the server's API key, never the key.
        notes: sentences the user should know when it is loaded, for ``Loaded.notes``.
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
    """The start of a reply that is to go on.

    Attributes:
        text: as it came, before any clean-up.
        ids: its tokens, with those that make no whole character yet; empty if they are not
            known and ``text`` has to be encoded.
        next_id: the token that comes then, in place of one that is sampled; -1 for none.
    """

    text: str
    ids: tuple[int, ...] = ()
    next_id: int = -1


@dataclass(frozen=True)
class GenerateRequest:
    """One query to answer.

    Attributes:
        query: what the user typed.
        history: earlier rounds as (query, reply), oldest first.
        system: overrides the spec's system prompt; None keeps it.
        sampling: settings for this reply.
        stop_strings: end the reply, in addition to the format's and the spec's.
        alternatives: how many of the best candidates each token event reports.
        think: whether to think before the answer, if the model's template has a switch for it;
            None leaves it to the model.
        partial_reply: text that the reply continues; ``Done.text`` begins with it, the ``Token``
            events do not repeat it.
        window: tokens that prompt and reply may take together; None for all that there are.
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
        """The window of this reply, in tokens.

        Args:
            context_limit: the model's; 0 if it is not known.
        """
        return min(filter(None, (self.window, context_limit)), default=0)


class Candidate(Struct, frozen=True):
    """A token that could come next: its raw logit, and its softmax probability over all logits."""

    id: int
    token: str
    logit: float
    probability: float


class Loading(Struct, frozen=True):
    """Progress of a load; ``total_bytes`` is 0 if it is not known."""

    stage: str
    done_bytes: int = 0
    total_bytes: int = 0


class Loaded(Struct, frozen=True):
    """The model is ready.

    Attributes:
        name: as in the spec; or the server's choice if that names no model.
        family: recognised family.
        format: prompt format in use.
        context_limit: the window in use: tokens, prompt and reply together.
        device: e.g. "cpu", "cuda:0".
        dtype: of the weights, e.g. "float32", "int8".
        parameters: number of parameters (0 if unknown).
        weight_bytes: bytes of the weights in memory (0 if unknown).
        load_seconds: time that the load took.
        notes: sentences the user should know (e.g. beams fall back to sampling).
        free_bytes: memory that was free on its device for it (0 if unknown).
        skipped_gpu: the GPU that was not used, a model of this size being quicker on the CPU;
            "" for none.
        can_switch_thinking: whether ``GenerateRequest.think`` has an effect, as far as is known.
        can_continue: whether ``GenerateRequest.partial_reply`` is possible.
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
        prompt: the text, up to where the reply begins.
        input_ids, tokens: the prompt as ids and as pieces, with a reply that goes on; empty if the
            backend does not tell.
        position_ids: rows of positions as in ``Inspection``; empty if they are 0, 1, 2, ….
        prompt_tokens: its length in tokens (0 if the backend cannot count).
        reused_tokens: leading tokens whose KV cache was kept from before.
        context_limit: tokens, prompt and reply together.
        dropped_rounds: how many of the oldest rounds did not fit and were left out.
        seed: the seed in use for this reply.
        notes: sentences the user should know about this reply (e.g. a server refused a setting).
        memory_bytes: what the engine's process holds, weights and caches included; 0 if not known.
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
    """One generated token.

    Attributes:
        text: what this token adds to the visible reply; "" while characters or a possible stop
            string are held back. The texts of all tokens join to ``Done.text`` before clean-up.
        id: token id; -1 if the backend does not report it.
        logprob: natural log of the probability under the raw logits; None if not known.
        alternatives: the best candidates, if the request asks for them.
    """

    text: str
    id: int = -1
    logprob: float | None = None
    alternatives: tuple[Candidate, ...] = ()


class Done(Struct, frozen=True):
    """The reply is finished.

    Attributes:
        text: the reply as shown and kept (after the format's clean-up).
        finish_reason: "eos", "stop" (a stop string), "length", "filter" (a server's content filter)
            or "cancelled".
        output_ids: generated ids, with the end token, if there was one.
        seed: repeats the reply.
        prompt_tokens, output_tokens: counts.
        first_token_seconds, total_seconds: from the request's arrival.
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
    """The load or the reply ended with an error: one sentence; ``detail`` is for the log."""

    sentence: str
    detail: str = ""


class Inspection(Struct, frozen=True):
    """What the model would read and say next: the answer of ``inspect``.

    Attributes:
        prompt: the text.
        input_ids, tokens: the prompt as ids and as pieces.
        position_ids: rows of positions; one row for most families, two for ChatGLM-6B.
        context_used, context_limit: tokens.
        dropped_rounds: how many of the oldest rounds did not fit.
        next: the best candidates for the next token, best first.
        notes: sentences the user should know about this prompt.
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
    """How probable the model finds a reply that it is given: the answer of ``score``.

    Attributes:
        logprobs: natural logs of the probabilities of its tokens, in order, under the raw logits;
            empty for a reply without any.
    """

    logprobs: tuple[float, ...] = ()


LoadEvent: TypeAlias = Loading | Loaded
ReplyEvent: TypeAlias = Prefill | Token | Done
Event: TypeAlias = Loading | Loaded | Prefill | Token | Done | Failed | Inspection | Scored
