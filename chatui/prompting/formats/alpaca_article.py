"""LLaMA with the Alpaca template as the article writes it: one space after "### Response:"."""

from __future__ import annotations

from chatui.prompting.alpaca import alpaca_format

FORMAT = alpaca_format(
    "alpaca:article",
    "tatsu-lab/stanford_alpaca: train.py, with a space after the last colon",
    before_query="\n",
    after_label=" ",
)
