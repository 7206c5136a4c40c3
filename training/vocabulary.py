"""The vocabulary, one token per character, as a transformers ``BertTokenizer``.

``python -m training.vocabulary`` writes vocab.txt and the tokenizer files into assets/shiyou.
"""

import string
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .corpus import Poem, load
from .paths import MODEL

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = [PAD, UNK, CLS, SEP, MASK]
FULL_WIDTH = "　，。！？；：、“”‘’（）《》〈〉「」『』【】〔〕…—～·￥％＋－＝／〇℃"
MIN_COUNT = 10
"""Minimum occurrences of a character outside GB2312's 3,755 common ones."""


def common_characters() -> list[str]:
    """Return the 3,755 characters of GB2312 level 1, in order."""
    pairs = ((high, low) for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF))
    decoded = (bytes(pair).decode("gb2312", errors="ignore") for pair in pairs)
    return [char for char in decoded if char]


def vocabulary(poems: Iterable[Poem], texts: Iterable[str] = ()) -> list[str]:
    """Return all tokens: special ones, symbols, letters, then Chinese characters."""
    counts = Counter(char for poem in poems for line in poem.lines for char in line)
    letters = string.ascii_letters + string.digits
    tokens = [*SPECIAL, *string.punctuation, *letters, *(f"##{char}" for char in letters)]
    tokens += ["Round", *FULL_WIDTH.strip("　")]
    han = dict.fromkeys(common_characters())
    han |= dict.fromkeys(char for char, n in sorted(counts.items()) if n >= MIN_COUNT)
    han |= dict.fromkeys(char for text in texts for char in text if "\u3400" <= char <= "\u9fff")
    return list(dict.fromkeys([*tokens, *han]))


def write_tokenizer(tokens: list[str], folder: Path) -> None:
    """Write vocab.txt, tokenizer.json and tokenizer_config.json into ``folder``.

    The line break is an added token, as BERT's pre-tokenizer drops white space.
    """
    from transformers import AddedToken, BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        do_lower_case=False,
        model_max_length=512,
    )
    tokenizer.add_tokens([AddedToken("\n", normalized=False, lstrip=False, rstrip=False)])
    tokenizer.save_pretrained(folder)


def main() -> int:
    """Write the tokenizer of the embedded model."""
    from .dialogues import all_wording

    tokens = vocabulary(load(), all_wording())
    write_tokenizer(tokens, MODEL)
    print(f"{len(tokens)} tokens and the line break in {MODEL}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
