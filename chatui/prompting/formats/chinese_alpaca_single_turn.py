"""Chinese-Alpaca read one instruction at a time: llama.cpp's spacing of the Alpaca template."""

from __future__ import annotations

from chatui.prompting.alpaca import alpaca_format

FORMAT = alpaca_format(
    "chinese-alpaca:single-turn",
    "ymcui/Chinese-LLaMA-Alpaca: scripts/inference/inference_hf.py",
    before_query="\n\n",
    after_label="\n\n",
)
