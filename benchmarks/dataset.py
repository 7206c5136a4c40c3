"""Speed of ``chatui dataset`` in rounds per second, and its memory for a small and a large file.

    python benchmarks/dataset.py [--rounds 20000] [--larger 200000] [--chatglm FOLDER]

The rows have one round of Chinese prose in Alpaca's format. Each line of the output is a process of
its own, timed from the loaded tokenizer on. The fast tokenizer is a byte-level BPE trained on the
same prose; ChatGLM's is read from the folder. The rounds per second of CPU time vary less on a busy
machine. Memory is the peak resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

SENTENCES = (
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "简约而不简单的牛仔外套，白色的衣身十分百搭。",
    "衣身多处有做旧破洞设计，打破单调乏味，增加一丝造型看点。",
    "请介绍一下北京的历史，并写一首关于秋天的七言绝句。",
    "The model reads the prompt and continues the text, one token after the other.",
    "大语言模型通过预测下一个词来学习语言，微调让它学会新的任务。",
)
WORKER = """
import gc, json, resource, sys, time
from pathlib import Path
from chatui.catalog.resolving import LocatedTokenizer
from chatui.conversation.dialogue_sources import DialogueSources
from chatui.engine.examples.example_encoder import load_encoder
from chatui.engine.examples.example_layout import ExampleLimits
from chatui.engine.examples.example_run import write_examples

gc.set_threshold(100_000, 20, 100)  # as chatui.cli.main does
source, target, folder, network, family = sys.argv[1:]
encoder = load_encoder(LocatedTokenizer(Path(folder), network), ExampleLimits(), family)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began, began_cpu = time.perf_counter(), time.process_time()
state = write_examples(
    encoder, DialogueSources([Path(source)]), Path(target),
    file_format="jsonl", train=None, options={},
    report=lambda *_: None, report_skipped=lambda sentence: None,
)
print(json.dumps({
    "rounds": state.examples, "seconds": time.perf_counter() - began,
    "cpu": time.process_time() - began_cpu, "before": before,
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
}))
"""


def write_rows(file: Path, rounds: int) -> None:
    """Write Alpaca rows with a query of one sentence and a reply of one or two."""
    chance = random.Random(0)
    with file.open("w", encoding="utf-8") as stream:
        for _ in range(rounds):
            query, reply = (
                chance.choice(SENTENCES),
                chance.choices(SENTENCES, k=chance.choice((1, 2))),
            )
            row = {"instruction": query, "input": "", "output": "".join(reply)}
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_fast_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder)


def measured(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-c", WORKER, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--larger", type=int, default=200_000)
    parser.add_argument("--chatglm", metavar="FOLDER", help="a folder with ice_text.model")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_fast_tokenizer(folder / "fast")
        kinds = [("fast", "causal", str(folder / "fast"), "bloom", 20_000)]
        kinds += [("fast", "alpaca", str(folder / "fast"), "bloom", 20_000)]
        if args.chatglm:
            kinds += [("SentencePiece", "chatglm", args.chatglm, "chatglm", 2_000)]
        for rounds in (args.rounds, args.larger):
            source, target = folder / "rows.jsonl", folder / "examples.jsonl"
            write_rows(source, rounds)
            for title, family, tokenizer, network, aim in kinds:
                found = measured(str(source), str(target), tokenizer, network, family)
                grown = (found["peak"] - found["before"]) / 1024
                print(
                    f"{title}, {family}, {found['rounds']:,} rounds: "
                    f"{found['rounds'] / found['seconds']:,.0f} a second (aim >= {aim:,}), "
                    f"{found['rounds'] / found['cpu']:,.0f} a second of a core, "
                    f"peak {found['peak'] / 1024:.0f} MiB, {grown:.0f} MiB over the tokenizer"
                )
                target.unlink()


if __name__ == "__main__":
    main()
