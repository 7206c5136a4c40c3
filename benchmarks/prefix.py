"""Time to the first token of the twelfth round, with and without the KV cache of earlier rounds.

The conversation has about 1,800 tokens; the model is a random-weight 110M Llama in float32. The
last round is generated in turns with the cache of the earlier rounds and without a cache. Both
replies must be the same, token for token.

    python benchmarks/prefix.py [--tokens 1800] [--rounds 12] [--repeat 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import models

from chatui.engine.threads import limit_spinning
from chatui.messages import Done, GenerateRequest, ModelSpec, Prefill
from chatui.sampling import SamplingSettings

REPLY_TOKENS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=1800)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    limit_spinning()
    with tempfile.TemporaryDirectory() as temporary:
        row = measure(models.llama_110m(Path(temporary)), options)
    if options.json:
        print(json.dumps(row))
        return
    print(f"prompt {row['prompt_tokens']} tokens, {row['reused_tokens']} of them in the cache")
    print(f"first token with the cache        {row['kept']:8.3f} s")
    print(f"first token without the cache     {row['fresh']:8.3f} s")
    print(f"ratio                             {row['ratio']:8.1f}")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    from chatui.engine.cache import LastPromptCache
    from chatui.engine.engine import Engine

    engine = Engine()
    engine.load(ModelSpec("benchmark", str(folder), format="linly"), lambda _: None)
    # Each hanzi is three tokens (bytes) of this tokenizer.
    text = models.HANZI * 100
    query = text[:20]
    share = options.tokens // (options.rounds - 1) // 3 - 4 - len(query)
    rounds = tuple((query, text[i : i + share]) for i in range(options.rounds - 1))

    def ask(asked: str, before: tuple[tuple[str, str], ...]) -> tuple[Prefill, Done]:
        settings = SamplingSettings(greedy=True, max_new_tokens=REPLY_TOKENS)
        first, *_, last = engine.generate(
            GenerateRequest(asked, before, sampling=settings), lambda: False
        )
        assert isinstance(first, Prefill)
        assert isinstance(last, Done)
        return first, last

    def forget() -> None:
        engine._loaded().prompt_cache = LastPromptCache()

    pairs = []
    for _ in range(options.repeat):
        forget()
        _, fresh = ask(query, rounds)
        forget()
        # The cache after the previous reply: it holds all rounds, but not the query.
        engine.inspect(GenerateRequest("", rounds), 1)
        prefill, kept = ask(query, rounds)
        if kept.output_ids != fresh.output_ids:
            raise SystemExit("The replies differ: reuse is not exact.")
        pairs.append((kept.first_token_seconds, fresh.first_token_seconds))
    return {
        "prompt_tokens": prefill.prompt_tokens,
        "reused_tokens": prefill.reused_tokens,
        "kept": statistics.median(kept for kept, _ in pairs),
        "fresh": statistics.median(fresh for _, fresh in pairs),
        "ratio": statistics.median(fresh / kept for kept, fresh in pairs),
    }


if __name__ == "__main__":
    main()
