"""Alpaca-CoT: the Alpaca template, nothing after "### Response:"."""

from __future__ import annotations

from chatui.prompting.alpaca import alpaca_format

FORMAT = alpaca_format(
    "alpaca-cot",
    "PhoebusSi/Alpaca-CoT: generate.py",
    before_query="\n",
    after_label="",
)
