"""Choice of a reply's tokens, on the host or on the device one step ahead."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from chatui.engine.architectures.decoder.fixed_cache import CapturedGraph
from chatui.engine.model import LoadedModel
from chatui.engine.penalties import HOST_PENALTIES, ReplySoFar
from chatui.engine.sampler import Sampler
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Candidate, GenerateRequest

_MATCHED = 3
"""Tokens that must match an earlier passage."""
_DRAFTED = 4
"""Tokens in a draft."""
_LONGEST_PAUSE = 64
"""Maximum steps without a draft after drafts that were wrong."""


class ChosenToken(NamedTuple):
    """A token, its log probability, and the most probable tokens."""

    token: int
    logprob: float
    best: tuple[Candidate, ...]


class HostChooser:
    """Chooses each token of one reply on the host, before the network reads it.

    Args:
        reply: the settings, and the tokens that a choice depends on.
        seed: seed of the random generator.
        cache: the network's cache, which holds the prompt.
        logits: those after the prompt, ``[vocabulary]`` float32.
    """

    def __init__(
        self,
        model: LoadedModel,
        request: GenerateRequest,
        reply: ReplySoFar,
        seed: int,
        cache: Any,
        logits: Tensor,
    ) -> None:
        self._model = model
        self._network: Any = model.network
        self._reply = reply
        self._cache = cache
        self._alternatives = request.alternatives
        # The user's first token; an id outside the vocabulary for none.
        self._forced = -1 if request.partial_reply is None else request.partial_reply.next_id
        self._begin(logits, seed)

    def _begin(self, logits: Tensor, seed: int) -> None:
        self._sampler = Sampler(self._reply, seed)
        self._logits = logits
        self._lookup: PromptLookup | None = None
        if self._reply.settings.is_greedy and getattr(self._network, "benefits_from_drafts", False):
            read = (*self._reply.prompt_ids, *self._reply.output_ids)
            self._lookup = PromptLookup(self._network, self._cache, read)

    def choose(self) -> ChosenToken:
        """Choose the next token, and append it to the reply's ``output_ids``.

        Raises:
            ChatuiError: a logit is NaN or infinite.
        """
        logits = apply_guard(self._model, self._logits.cpu())
        total = finite_log_sum_exp(logits)
        if 0 <= self._forced < logits.shape[0]:
            token = self._forced
            self._reply.output_ids.append(token)
        else:
            token = self._sampler(logits)
        self._forced = -1
        best = best_candidates(self._model, logits, total, self._alternatives)
        return ChosenToken(token, float(logits[token]) - total, best)

    def read(self, token: int) -> None:
        """Run the network on the chosen token."""
        if self._lookup is not None:
            self._logits = self._lookup.step(token)
        else:
            self._logits = self._network.step(token, self._cache)

    def finish(self) -> None:
        """Remove tokens from the cache that were read ahead and not chosen."""
        if self._lookup is not None:
            self._lookup.drop_draft()


class DeviceChooser(HostChooser):
    """Chooses each token on the device, and starts the next step before the host reads the token.

    The choice is captured in a CUDA graph, as the network's step is. One copy per token brings a
    report to the host; the host waits for nothing else.
    """

    def _begin(self, logits: Tensor, seed: int) -> None:
        device = logits.device
        self._graph: CapturedGraph | None = None
        self._reports: deque[Callable[[], Tensor]] = deque()
        self._logits = torch.empty_like(logits, dtype=torch.float32)
        self._number = torch.zeros((), dtype=torch.float64, device=device)
        self._token = torch.zeros(1, dtype=torch.int64, device=device)
        before = self._reply.output_ids[-1:]
        self._reply.last_on_device = torch.tensor(before, dtype=torch.int64, device=device)
        self._sampler = Sampler(self._reply, seed)
        # The first choice is not captured: it allocates the buffers that the graph uses.
        self._launch(logits, lambda: self._report(self._forced))
        self._reply.last_on_device = self._token

    def choose(self) -> ChosenToken:
        token, logit, total, *rest = self._reports.popleft()().tolist()
        _check_finite(total)
        self._reply.output_ids.append(int(token))
        ids, logits = map(int, rest[: len(rest) // 2]), rest[len(rest) // 2 :]
        best = as_candidates(self._model, list(ids), logits, total)
        return ChosenToken(int(token), logit - total, best)

    def read(self, token: int) -> None:
        if self._graph is None:
            self._graph = CapturedGraph(self._report, self._token.device)
        while len(self._reports) < 2:
            # The device's token may be newer than the host's.
            self._launch(self._network.step(self._token[0], self._cache), self._graph)

    def finish(self) -> None:
        if len(self._reports) > 1:
            self._cache.crop(1 - len(self._reports))

    def _launch(self, logits: Tensor, choose: Callable[[], Tensor]) -> None:
        self._logits.copy_(logits)
        self._number.fill_(self._sampler.random_number())
        self._reports.append(copy_to_host(choose()))

    def _report(self, forced: int = -1) -> Tensor:
        """Choose a token, and return its report as float64 without waiting for the device.

        The report is the token, its logit, log Σ exp of all logits, then the ids and the logits of
        the most probable tokens.
        """
        logits = apply_guard(self._model, self._logits)
        self._token.copy_(self._sampler.choose(logits, self._number))
        if 0 <= forced < logits.shape[0]:
            self._token.fill_(forced)
        best, ids = logits.topk(min(self._alternatives, logits.shape[0]))
        parts = (self._token, logits[self._token], log_sum_exp(logits)[None], ids, best)
        return torch.cat([part.double() for part in parts])


def chooser_class(model: LoadedModel, reply: ReplySoFar) -> type[HostChooser]:
    """Return the chooser on the device if the network and the settings allow it."""
    on_device = getattr(model.network, "accepts_device_token", False)
    if on_device and not any(make_step(reply) for make_step in HOST_PENALTIES):
        return DeviceChooser
    return HostChooser


class PromptLookup:
    """Reads several tokens at once if the reply repeats an earlier passage.

    If the last tokens occurred before, the tokens that followed them are drafted and read together
    with the next token (github.com/apoorvumang/prompt-lookup-decoding). The logits after a drafted
    token are used if the reply chooses that token; the rest of the draft is dropped. Replies are
    the same as with single steps, because the logits differ only by rounding.

    Args:
        network: a network with ``read_reply``.
        cache: a cache with the prompt, which can be cropped.
        ids: the prompt.
    """

    def __init__(self, network: Any, cache: Any, ids: Sequence[int]) -> None:
        self._network = network
        self._cache = cache
        self._ids: list[int] = []
        self._following: dict[tuple[int, ...], int] = {}
        self._draft: list[int] = []
        self._logits: list[Tensor] = []
        self._pause = self._waiting = 0
        for token in ids:
            self._add(token)

    def step(self, token: int) -> Tensor:
        """Return the logits after ``token``, ``[vocabulary]`` float32."""
        hit = self._draft[:1] == [token]
        if not hit:
            self.drop_draft()
        match = self._following.get((*self._ids[1 - _MATCHED :], token))
        self._add(token)
        if hit:
            self._pause = 0
            del self._draft[0]
            return self._logits.pop(0)
        self._waiting -= 1
        if match is None or self._waiting > 0:
            logits: Tensor = self._network.step(token, self._cache)
            return logits
        self._draft = self._ids[match : match + _DRAFTED]
        # The pause doubles with each draft without a right token.
        self._waiting = self._pause = min(_LONGEST_PAUSE, 2 * self._pause or 1)
        rows: Tensor = self._network.read_reply((token, *self._draft), self._cache)
        self._logits = list(rows[1:])
        return rows[0]

    def drop_draft(self) -> None:
        """Remove drafted tokens that were not chosen from the cache."""
        if self._draft:
            self._cache.crop(-len(self._draft))
        self._draft, self._logits = [], []

    def _add(self, token: int) -> None:
        self._ids.append(token)
        if len(self._ids) >= _MATCHED:
            self._following[tuple(self._ids[-_MATCHED:])] = len(self._ids)


def copy_to_host(tensor: Tensor) -> Callable[[], Tensor]:
    """Start an asynchronous copy; return a function that waits for it and returns it."""
    if tensor.device.type != "cuda":
        copy = tensor.clone()
        return lambda: copy
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def wait() -> Tensor:
        copied.synchronize()
        return host

    return wait


def apply_guard(model: LoadedModel, logits: Tensor) -> Tensor:
    """Return the logits, repaired by the architecture's guard if it has one."""
    return logits if model.guard is None else model.guard(logits)


def log_sum_exp(logits: Tensor) -> Tensor:
    """Return log Σ exp of all logits, ``[]``."""
    # Faster than torch.logsumexp.
    return logits.max() - torch.log_softmax(logits, 0).max()


def finite_log_sum_exp(logits: Tensor) -> float:
    """Return log Σ exp of all logits.

    Raises:
        ChatuiError: a logit is NaN or infinite.
    """
    total = float(log_sum_exp(logits))
    _check_finite(total)
    return total


def _check_finite(total: float) -> None:
    if not math.isfinite(total):
        raise ChatuiError(say("engine.not_finite"))


def best_candidates(
    model: LoadedModel, logits: Tensor, total: float, count: int
) -> tuple[Candidate, ...]:
    """Return the ``count`` most probable tokens, best first, with their probabilities."""
    if count <= 0:
        return ()
    best, ids = torch.topk(logits, min(count, logits.shape[0]))
    return as_candidates(model, ids.tolist(), best.tolist(), total)


def as_candidates(
    model: LoadedModel, ids: list[int], logits: list[float], total: float
) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(id, model.codec.piece(id), logit, math.exp(logit - total))
        for id, logit in zip(ids, logits, strict=True)
    )
