"""Where the training scripts read and write."""

from pathlib import Path

TRAINING = Path(__file__).resolve().parent
DATA = TRAINING / "data"
"""Ignored by git: the fetched corpus, the prepared poems, the checkpoints."""

PACKAGE = DATA / "package"
POEMS = DATA / "poems.jsonl"
CHECKPOINT = DATA / "checkpoint.pt"
MODEL = TRAINING.parent / "assets" / "shiyou"
