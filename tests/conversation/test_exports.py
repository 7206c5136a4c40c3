"""Exports in all formats."""

from __future__ import annotations

import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from msgspec import structs

from chatui import locales
from chatui.conversation.dialogues import (
    Dialogue,
    dialogue_from_rounds,
    parse_record,
    to_alpaca,
    to_chatglm,
    to_openai,
    to_sharegpt,
)
from chatui.conversation.export_formats import EXPORT_FORMATS, export_files, format_of, to_svg
from chatui.conversation.exports import to_html, to_markdown, to_text, write_atomically
from chatui.conversation.imports.speaker_lines import read_speaker_lines
from chatui.conversation.rounds import Conversation, Piece, Round, Transcript
from chatui.conversation.store import Store
from chatui.errors import ChatuiError

ABOUT = Conversation(1, "静夜思", 0, 0, 2, 2)
ROUNDS = (
    Round(1, 1, None, "写《静夜思》\n五言", "床前明月光，\n疑是地上霜。", "done", "诗友"),
    Round(2, 1, 1, "代码？", "看：\n```\na\nb\n```\n好\n\n完", "stopped"),
    Round(3, 1, 2, "x", "\x1b[31m\ud800\x9b", "failed", error="No {memory}."),
)


def transcript_of(*rounds: Round) -> Transcript:
    return Transcript(replace(ABOUT, head_id=rounds[-1].id), rounds)


def test_markdown_keeps_the_lines_of_poems_and_code() -> None:
    locales.set_language("zh")
    assert to_markdown(transcript_of(*ROUNDS[:2])) == (
        "# 静夜思\n\n## 第 1 轮\n\n**问**\n\n> 写《静夜思》  \n> 五言\n\n**答** (诗友)\n\n"
        "床前明月光，  \n疑是地上霜。\n\n"
        "## 第 2 轮\n\n**问**\n\n> 代码？\n\n**答**\n\n看：  \n```\na\nb\n```\n好\n\n完\n\n"
        "*已停止*\n"
    )


def test_plain_text() -> None:
    assert to_text(transcript_of(ROUNDS[0])) == (
        "静夜思\n\n[Round 1]\n\nQuestion: 写《静夜思》\n五言\n\n"
        "Reply (诗友): 床前明月光，\n疑是地上霜。\n"
    )


def test_exports_have_no_control_characters() -> None:
    for text in (to_markdown(transcript_of(*ROUNDS)), to_text(transcript_of(*ROUNDS))):
        assert "␛[31m��" in text
        assert "ended with an error: No {memory}." in text
        text.encode()
        assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in text)


def test_ratings_notes_and_corrections_are_exported_but_not_imported_as_text() -> None:
    rated = Round(
        *(1, 1, None, "春？", "眠", "done", "诗友"),
        rating=1, note="好\n<b>", sampling={"edited": True}, corrects_id=9,
    )  # fmt: skip
    markdown = to_markdown(transcript_of(rated))
    assert "**Reply** (诗友) · ✎ Edited by hand · + Good · ✎ 好 <b>\n" in markdown
    (read,) = read_speaker_lines(markdown).rounds
    assert (read.query, read.reply, read.model) == ("春？", "眠", "诗友")
    assert to_text(transcript_of(rated)).endswith("(✎ Edited by hand · + Good · ✎ 好\n<b>)\n")
    page = Page(to_html(transcript_of(rated)))
    assert "诗友 · ✎ Edited by hand · + Good" in page.text and "✎ 好\n<b>" in page.text
    picture = "".join(ElementTree.fromstring(to_svg(transcript_of(rated))).itertext()).replace(
        "\xa0", " "
    )
    assert "✎ Edited by hand · + Good" in picture


def test_the_open_code_fence_of_a_stopped_reply_is_closed() -> None:
    stopped = Round(1, 1, None, "q", "````py\nx = 1\n```", "stopped")
    assert "````py\nx = 1\n```\n````\n" in to_markdown(transcript_of(stopped))


HOSTILE = (
    Round(
        1,
        1,
        None,
        "<script>alert(1)</script> & 5 < 6",
        "<think>\n想 <b>\n</think>\n\n床前，\n明月 **光**\n\n<img src=x onerror=alert(1)>\n"
        "![p](http://x/p.png) [a](javascript:alert(1)) [b](http://x)\n\n```py\na < b\n```\n"
        "\n| a | b |\n|---|---|\n| 1 | 2 |",
        "stopped",
        "<i>诗友",
    ),
    Round(2, 1, 1, "\x1b[31m\ud800", "\x9b", "failed", error="<b>{memory}"),
)


class Page(HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_is_complete_without_scripts_and_external_files() -> None:
    far = Transcript(Conversation(1, "t", 0, 1e12, 2, 2), HOSTILE)
    assert "9999-12-31 23:59" in to_html(far), "a clock far ahead"
    html = to_html(Transcript(Conversation(1, "<title>静", 0, 1.7e9, 2, 2), HOSTILE))
    html.encode()
    page = Page(html)
    names = {name for name, _ in page.elements}
    assert not names & {"script", "img", "iframe", "object", "link", "b", "i"}
    assert {"details", "strong", "br", "pre", "table", "a"} <= names
    links = [attributes.get("href") for name, attributes in page.elements if name == "a"]
    assert "http://x" in links and not any("javascript" in (link or "") for link in links)
    assert not any(key.startswith("on") for _, values in page.elements for key in values)
    for said in ("<script>alert(1)</script> & 5 < 6", "<title>静", "想 <b>", "<i>诗友", "a < b"):
        assert said in page.text
    assert "<b>{memory}" in page.text and "␛[31m�" in page.text
    assert "prefers-color-scheme: dark" in html and "@media print" in html


def test_training_records_are_read_back() -> None:
    dialogue = dialogue_from_rounds(ROUNDS)
    assert len(dialogue.rounds) == 3
    for write in (to_openai, to_sharegpt, to_chatglm):
        assert parse_record(write(dialogue)) == Dialogue(dialogue.rounds)
    assert parse_record(to_alpaca(dialogue)).rounds == dialogue.rounds
    told = structs.replace(dialogue, system="作诗", unfinished=frozenset())
    for write in (to_openai, to_sharegpt):
        assert parse_record(write(told)) == told
    assert parse_record(to_alpaca(told)).system == "作诗"


PIECES = {
    1: (
        Piece(0.1, "<静>", 5, -0.01),
        Piece(0.2, "夜\x1b", 6, -1.0, ((6, "夜", 0.37), (7, "<b>\ud800", 0.2))),
        Piece(0.3, "\n思\ufffe", 7, -9.0),
        Piece(0.4, ""),
    )
}


def with_tokens() -> Transcript:
    return Transcript(Conversation(1, "<静>", 0, 1.7e9, 2, 2), HOSTILE, PIECES)


def test_a_page_colours_tokens_on_request() -> None:
    plain, coloured = to_html(with_tokens()), to_html(with_tokens(), probabilities=True)
    assert 'class="tokens"' not in plain and 'class="p3"' not in plain
    assert '<span class="p0" title="99.0%">&lt;静&gt;</span>' in coloured
    assert '<span class="p1" title="36.8%\n&#x27;夜&#x27; 37.0%\n' in coloured
    assert "&#x27;&lt;b&gt;�&#x27; 20.0%" in coloured and '<span class="p3"' in coloured
    # The round without probabilities is as it was.
    assert "␛[31m�" in coloured and Page(coloured).text.encode()


def test_a_picture_is_xml_without_external_files() -> None:
    for probabilities in (False, True):
        picture = to_svg(with_tokens(), probabilities=probabilities)
        root = ElementTree.fromstring(picture)
        assert root.tag.endswith("svg")
        without = picture.replace("http://www.w3.org/2000/svg", "").replace("http://x", "")
        assert "http" not in without
        assert "url(" not in picture.replace("url(#", "")
        said = "".join(root.itertext()).replace("\xa0", " ")
        assert "alert(1)" in said and "stopped" in said
        assert ("静" in said) and ("#5e2a2a" in picture) is probabilities
    assert "<静>" in "".join(ElementTree.fromstring(to_svg(with_tokens())).itertext())


def test_the_ending_of_a_file_chooses_the_format(tmp_path: Path) -> None:
    endings = {".md": "markdown", ".txt": "text", ".HTML": "html", ".htm": "html", ".svg": "svg"}
    endings |= {".jsonl": "transcript", ".json": "transcript", "": "markdown"}
    assert {end: format_of(Path(f"a{end}")).name for end in endings} == endings
    assert format_of(None).name == "markdown"
    with pytest.raises(ChatuiError, match=r"a\.pdf is unknown: .* \.md, .*\.svg"):
        format_of(Path("a.pdf"))
    store = Store(None)
    whole = with_tokens()
    ids = store.add_conversations([whole] * 2)
    for form in EXPORT_FORMATS:
        folder = tmp_path / form.name
        export_files(store, ids, folder, form, is_folder=True)
        if form.page is None:
            assert len(folder.read_text(encoding="utf-8").splitlines()) == 2
        else:
            assert {each.name for each in folder.iterdir()} == {
                f"{id}-静{form.suffix}" for id in ids
            }
    store.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "对话.txt"
    file.write_text("old")
    return file


def test_unwritable_files_are_plain_errors(file: Path) -> None:
    folder = file.parent
    for path in (folder, file / "x", folder / "none" / "x", Path("a\0b")):
        with pytest.raises(ChatuiError, match="cannot be written"):
            write_atomically(path, "new")
    assert [path.name for path in folder.iterdir()] == [file.name]


def test_a_failed_write_keeps_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ChatuiError, match="cannot be written"):
        write_atomically(file, "\ud800")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ChatuiError, match="No space left"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_replaced_file_keeps_its_permissions(file: Path) -> None:
    file.chmod(0o600)
    write_atomically(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)


@pytest.mark.skipif(os.name == "nt", reason="POSIX links and devices")
def test_links_are_followed_and_devices_are_written(file: Path) -> None:
    link = file.with_name("link.txt")
    link.symlink_to(file)
    write_atomically(link, "new")
    assert link.is_symlink() and file.read_text() == "new"
    write_atomically(Path("/dev/null"), "new")
    assert Path("/dev/null").is_char_device()
