"""Paths of the training scripts."""

from pathlib import Path

TRAINING = Path(__file__).resolve().parent
DATA = TRAINING / "data"
"""The fetched corpus, the prepared poems and the checkpoints; ignored by git."""

PACKAGE = DATA / "package"
POEMS = DATA / "poems.jsonl"
CHECKPOINT = DATA / "checkpoint.pt"
MODEL = TRAINING.parent / "assets" / "shiyou"
