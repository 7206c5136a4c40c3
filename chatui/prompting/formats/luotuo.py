"""Luotuo: the Alpaca template, the reply on a line of its own."""

from __future__ import annotations

from chatui.prompting.alpaca import alpaca_format

FORMAT = alpaca_format(
    "luotuo",
    "LC1332/Luotuo-Chinese-LLM: notebook/evaluation_code.ipynb",
    before_query="\n",
    after_label="\n",
)
