"""Perplexity of a model in float32, int8 and int4.

The embedded model reads 300 held-out poems, which training/ prepares (see its README); another
model reads a UTF-8 text file, 512 tokens at a time.

    python -m training.fetch_corpus && python -m training.corpus
    python benchmarks/perplexity.py [--model FOLDER --text FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from chatui import locations
from chatui.engine.threads import limit_spinning

WINDOW = 512


def load(folder: Path, bits: int | None) -> Any:
    """Return the model in float32, or with weights quantised as in the engine."""
    import torch
    from transformers import AutoModelForCausalLM

    from chatui.engine.quantised import QuantisationConfig

    told = {"quantization_config": QuantisationConfig(bits, torch.float32)} if bits else {}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **told).eval()


def held_out_poems(count: int = 300) -> list[list[int]]:
    """Return the tokens of the poems used by training/evaluate.py."""
    from random import Random

    from training.corpus import load, split
    from training.examples import Encoder
    from training.forms import couplets
    from training.paths import MODEL

    encoder = Encoder(MODEL)
    unknown = encoder.tokenizer.token_to_id("[UNK]")
    poems = [
        poem
        for poem in split(load())[1]
        if poem.title and unknown not in encoder.ids("".join((poem.title, *poem.lines)))
    ]
    return [encoder.ids(couplets(poem.lines)) for poem in Random(0).sample(poems, count)]


def perplexity_of_poems(network: Any, poems: list[list[int]]) -> float:
    """Return the perplexity per character, as in training/evaluate.py."""
    from training.evaluate import log_likelihood

    total = sum(log_likelihood(network, [], ids) for ids in poems)
    return math.exp(-total / sum(len(ids) - 1 for ids in poems))


def perplexity_of_text(folder: Path, network: Any, file: Path, most: int) -> float:
    """Return the perplexity per token of the first ``most`` tokens of a file."""
    import torch
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder)(
        file.read_text(encoding="utf-8"), return_tensors="pt", add_special_tokens=False
    )["input_ids"][0, :most]
    first = network.config.get_text_config().bos_token_id
    total = count = 0.0
    with torch.inference_mode():
        for part in ids.split(WINDOW - 1):
            read = torch.cat((torch.tensor([first] if first is not None else []).long(), part))
            logits = network(read[None]).logits[0, :-1].float()
            scores = torch.log_softmax(logits, -1).gather(1, read[1:, None])
            total -= float(scores.sum())
            count += len(scores)
    return math.exp(total / count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--most", type=int, default=8192, help="tokens of the text")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if (options.model is None) != (options.text is None):
        parser.error("--model and --text go together")
    limit_spinning()
    from chatui.engine.quantised import weight_bytes

    folder = options.model or locations.assets_folder() / "shiyou"
    results = {}
    poems = [] if options.text else held_out_poems()
    for name, bits in (("float32", None), ("int8", 8), ("int4", 4)):
        network = load(folder, bits)
        value = (
            perplexity_of_text(folder, network, options.text, options.most)
            if options.text
            else perplexity_of_poems(network, poems)
        )
        results[name] = {"perplexity": value, "bytes": weight_bytes(network)}
        del network
    if options.json:
        print(json.dumps(results))
        return
    plain = results["float32"]
    print(f"{folder.name:10}{'perplexity':>12}{'more':>9}{'MB':>9}{'share':>8}")
    for name, row in results.items():
        more = row["perplexity"] / plain["perplexity"] - 1
        share = row["bytes"] / plain["bytes"]
        print(f"{name:10}{row['perplexity']:12.3f}{more:9.2%}{row['bytes'] / 1e6:9.1f}{share:8.3f}")


if __name__ == "__main__":
    main()
