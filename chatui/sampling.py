"""The sampling settings of a reply, as a value without tensors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingSettings:
    """How the next token is chosen; the defaults of a preset, overridden by the user.

    Attributes:
        temperature: logits are divided by it; 0 means greedy.
        top_k: keep the k best tokens; 0 keeps all.
        top_p: keep the smallest set of tokens whose probabilities reach this sum; 1 keeps all.
        min_p: keep tokens with at least this share of the best probability; 0 keeps all.
        repetition_penalty: CTRL's penalty on tokens seen in prompt or reply; 1 is none.
        presence_penalty: subtracted once from the logit of each token already in the reply.
        frequency_penalty: subtracted for each earlier occurrence in the reply.
        penalty_decay: the occurrence counts are multiplied by it at each token (ChatRWKV: 0.996).
        no_repeat_ngram_size: no n-gram of this size occurs twice; 0 allows all.
        temperature_last: divide by the temperature after top-k, top-p and min-p have chosen who
            stays, as ChatRWKV does, not before.
        avoid_repeat: characters that do not come twice in a row, where each is one token of the
            model (ChatRWKV: 「，：？！」).
        newline_bias: ChatRWKV's way to end a chat reply: no end token, and a newline never at
            first, seldom within 40 tokens, and ever likelier after 150.
        uniform_top_k: choose evenly among the ``top_k`` best, whatever their probabilities.
        greedy: always take the best token.
        max_new_tokens: the reply's limit in tokens; None leaves it to the context window.
        seed: makes the reply repeatable; None draws a fresh one.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_decay: float = 1.0
    no_repeat_ngram_size: int = 0
    temperature_last: bool = False
    avoid_repeat: str = ""
    newline_bias: bool = False
    uniform_top_k: bool = False
    greedy: bool = False
    max_new_tokens: int | None = None
    seed: int | None = None
