"""The tokens of a reply, one after another: chosen on the host, or on the device one step ahead."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from chatui.engine.architectures.decoder.captured_step import CapturedGraph
from chatui.engine.model import LoadedModel
from chatui.engine.penalties import HOST_PENALTIES, ReplySoFar
from chatui.engine.prompt_lookup import PromptLookup
from chatui.engine.sampler import Sampler
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Candidate


class ChosenToken(NamedTuple):
    """A token, the logarithm of its probability, and the tokens that were the best."""

    token: int
    logprob: float
    best: tuple[Candidate, ...]


class TokenChooser(Protocol):
    """What a reply's loop asks in turn; the tokens also go to the reply's ``output_ids``."""

    def begin(self, logits: Tensor, forced: int) -> None:
        """Take the logits behind the prompt; ``forced`` is the first token if there is such."""
        ...

    def choose(self) -> ChosenToken:
        """The next token.

        Raises:
            ChatuiError: a logit is NaN or infinite.
        """
        ...

    def read(self, token: int) -> None:
        """Let the network read the token that was chosen."""
        ...

    def finish(self) -> None:
        """Leave in the cache nothing but tokens that were chosen."""
        ...


def chooser_for(
    model: LoadedModel, reply: ReplySoFar, seed: int, cache: Any, alternatives: int
) -> TokenChooser:
    """One step ahead where a step takes a token that only the device knows, and so do the settings.

    Args:
        alternatives: how many of the best tokens are told with each.
    """
    ahead = getattr(model.network, "accepts_device_token", False)
    if ahead and not any(make(reply) for make in HOST_PENALTIES):
        return DeviceChooser(model, reply, seed, cache, alternatives)
    return HostChooser(model, reply, seed, cache, alternatives)


class HostChooser:
    """Each token is chosen on the host and then read."""

    def __init__(
        self, model: LoadedModel, reply: ReplySoFar, seed: int, cache: Any, alternatives: int
    ) -> None:
        self._model = model
        self._reply = reply
        self._cache = cache
        self._alternatives = alternatives
        self._sampler = Sampler(reply, seed)
        self._lookup: PromptLookup | None = None
        if reply.settings.is_greedy and getattr(model.network, "benefits_from_drafts", False):
            read = (*reply.prompt_ids, *reply.output_ids)
            self._lookup = PromptLookup(model.network, cache, read)

    def begin(self, logits: Tensor, forced: int) -> None:
        self._logits = logits
        self._forced = forced

    def choose(self) -> ChosenToken:
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
        step = self._lookup.step if self._lookup else self._step
        self._logits = step(token)

    def _step(self, token: int) -> Tensor:
        return self._model.network.step(token, self._cache)

    def finish(self) -> None:
        if self._lookup is not None:
            self._lookup.drop_draft()


class DeviceChooser:
    """Each token is chosen where the logits are, and the next step begins before the host reads it.

    What chooses is captured as a graph of its own, beside that of the network's step. A report of
    each token comes to the host by one copy, on which alone the host waits.
    """

    def __init__(
        self, model: LoadedModel, reply: ReplySoFar, seed: int, cache: Any, alternatives: int
    ) -> None:
        self._model = model
        self._network: Any = model.network
        self._reply = reply
        self._seed = seed
        self._cache = cache
        self._alternatives = alternatives
        self._captured: CapturedGraph | None = None
        self._reports: deque[Callable[[], Tensor]] = deque()

    def begin(self, logits: Tensor, forced: int) -> None:
        device = logits.device
        self._logits = torch.empty_like(logits, dtype=torch.float32)
        self._number = torch.zeros((), dtype=torch.float64, device=device)
        self._token = torch.zeros(1, dtype=torch.int64, device=device)
        before = self._reply.output_ids[-1:]
        self._reply.last_on_device = torch.tensor(before, dtype=torch.int64, device=device)
        self._sampler = Sampler(self._reply, self._seed)
        # The first is chosen at once; that also makes the buffers that a graph needs to find.
        self._launch(logits, lambda: self._report(forced))
        self._reply.last_on_device = self._token

    def choose(self) -> ChosenToken:
        token, logit, total, *rest = self._reports.popleft()().tolist()
        _check(total)
        self._reply.output_ids.append(int(token))
        ids, logits = map(int, rest[: len(rest) // 2]), rest[len(rest) // 2 :]
        best = as_candidates(self._model, list(ids), logits, total)
        return ChosenToken(int(token), logit - total, best)

    def read(self, token: int) -> None:
        if self._captured is None:
            self._captured = CapturedGraph(self._report, self._token.device)
        while len(self._reports) < 2:
            # By now the device may have chosen a token that the host does not know.
            self._launch(self._network.step(self._token[0], self._cache), self._captured)

    def finish(self) -> None:
        if len(self._reports) > 1:
            self._cache.crop(1 - len(self._reports))

    def _launch(self, logits: Tensor, choose: Callable[[], Tensor]) -> None:
        self._logits.copy_(logits)
        self._number.fill_(self._sampler.random_number())
        self._reports.append(copy_to_host(choose()))

    def _report(self, forced: int = -1) -> Tensor:
        """Token, its logit, the logarithm of the sum of all, then ids and logits of the best.

        Nothing here waits for the device; the token is what the next step reads.
        """
        logits = apply_guard(self._model, self._logits)
        self._token.copy_(self._sampler.choose(logits, self._number))
        if 0 <= forced < logits.shape[0]:
            self._token.fill_(forced)
        best, ids = logits.topk(min(self._alternatives, logits.shape[0]))
        parts = (self._token, logits[self._token], log_sum_exp(logits)[None], ids, best)
        return torch.cat([part.double() for part in parts])


def copy_to_host(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to copy it; the call waits until it is there."""
    if tensor.device.type != "cuda":
        copy = tensor.clone()
        return lambda: copy
    there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    there.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()

    def wait() -> Tensor:
        arrived.synchronize()
        return there

    return wait


def apply_guard(model: LoadedModel, logits: Tensor) -> Tensor:
    """The logits, repaired if the architecture has an answer to NaN."""
    return logits if model.guard is None else model.guard(logits)


def log_sum_exp(logits: Tensor) -> Tensor:
    """log Σ exp of all logits, ``[]``."""
    # Quicker than logsumexp.
    return logits.max() - torch.log_softmax(logits, 0).max()


def finite_log_sum_exp(logits: Tensor) -> float:
    """log Σ exp of all logits.

    Raises:
        ChatuiError: a logit is NaN or infinite.
    """
    total = float(log_sum_exp(logits))
    _check(total)
    return total


def _check(total: float) -> None:
    if not math.isfinite(total):
        raise ChatuiError(say("engine.not_finite"))


def best_candidates(
    model: LoadedModel, logits: Tensor, total: float, count: int
) -> tuple[Candidate, ...]:
    """The ``count`` best tokens, best first, with their share of all probability."""
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
