"""The saved prompts of rounds."""

from __future__ import annotations

from pathlib import Path

from chatui.conversation.rounds import RenderedPrompt
from chatui.conversation.store import Store

CHATGLM = RenderedPrompt(
    text="[Round 0]\n问：你好\ud800\x00\n答：",
    input_ids=(5, 20003, 130001, 130004),
    tokens=("▁[", "你好", "[gMASK]", "<sop>"),
    position_ids=((0, 1, 2, 2), (0, 0, 0, 1)),
    dropped_rounds=2,
    context_limit=2048,
)


def test_a_prompt_is_read_as_saved(tmp_path: Path) -> None:
    store = Store(tmp_path / "conversations.db")
    first = store.add_round(None, None, "你好")
    second = store.add_round(first.conversation_id, first.id, "再来")
    store.save_prompt(first.id, RenderedPrompt("other"))
    store.save_prompt(first.id, CHATGLM)
    store.close()
    store = Store(tmp_path / "conversations.db")
    assert store.prompt(first.id) == CHATGLM
    assert store.prompt(second.id) is None
    store.close()


def test_a_long_prompt_is_compressed(tmp_path: Path) -> None:
    """2,000 tokens of Chinese take about six bytes each."""
    store = Store(tmp_path / "conversations.db")
    begun = store.add_round(None, None, "问")
    text = "".join(chr(0x4E00 + (7 * i * i) % 5000) for i in range(2000))
    store.save_prompt(begun.id, RenderedPrompt(text, tuple(map(ord, text)), tuple(text)))
    with store._database.reading() as db:
        (size,) = db.execute("SELECT length(data) FROM prompts").fetchone()
    assert size < 16_000
    store.close()
