"""Processor time per token of a Markdown reply as the reply grows.

    python benchmarks/markdown_tokens.py [--runs 5] [--json]

Adds 2,000 Chinese tokens with headings, lists, code blocks and a table one by one to a reply 76
cells wide. The text repeats, so the last hundred tokens differ from the first hundred only in their
numbers.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time

from chatui.tui.markdown import inline
from chatui.tui.markdown.code_colours import colour_line
from chatui.tui.markdown.markdown_text import MarkdownText

TOKENS = 2_000
HUNDRED = 100
PART = """## 第 {n} 节：春夜
东风吹雨过**春城**，夜半花开月自明。莫问`江南`多少事，一声啼鸟到天明。
- 先看[出处](https://example.org/{n})，再看*注释*
- 公式 $a_1 * b_{n}$ 照原样

```python
def poem(n: int = {n}) -> str:
    return "床前明月光" * n  # 疑是地上霜
```

| 名称 | 数量 | 备注 |
|:-----|----:|------|
| 苹果 | {n} | 很甜 |
| 香蕉 | 12 | 不甜 |

"""


def tokens() -> list[str]:
    """Return token-like pieces of text: one or two Chinese characters, or a word."""
    found: list[str] = []
    number = 0
    while len(found) < TOKENS:
        number += 1
        found += re.findall(r"[一-鿿]{1,2}|\w+|\s+|[^\w\s]{1,2}", PART.format(n=number))
    # The last hundred tokens begin a part, like the first hundred.
    start = max(i for i in range(TOKENS - HUNDRED + 1) if found[i] == "##")
    return found[: start + HUNDRED]


def seconds(pieces: list[str]) -> list[float]:
    """Return the processor time of each token."""
    text = MarkdownText("", 76, is_complete=False)
    _ = text.rows
    times = []
    for piece in pieces:
        began = time.thread_time()
        text.append(piece)
        times.append(time.thread_time() - began)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    inline.load_parser()
    colour_line("x", "python", ("root",))
    pieces = tokens()
    seconds(pieces)
    runs = [seconds(pieces) for _ in range(args.runs)]
    first = statistics.median(sum(times[:HUNDRED]) for times in runs)
    last = statistics.median(sum(times[-HUNDRED:]) for times in runs)
    result = {
        "tokens": len(pieces),
        "first_hundred_ms": first * 1e3,
        "last_hundred_ms": last * 1e3,
        "ratio": last / first,
    }
    if args.json:
        print(json.dumps(result))
        return
    print(f"tokens:        {result['tokens']}")
    print(f"first hundred: {result['first_hundred_ms']:.2f} ms (median of {args.runs})")
    print(f"last hundred:  {result['last_hundred_ms']:.2f} ms")
    print(f"ratio:         {result['ratio']:.2f} (aim <= 1.5)")


if __name__ == "__main__":
    main()
