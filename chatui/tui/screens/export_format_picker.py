"""The menu of export formats."""

from __future__ import annotations

from textual.content import Content

from chatui.conversation.export_formats import EXPORT_FORMATS, ExportFormat
from chatui.locales import say
from chatui.tui.screens.picker import Picker
from chatui.tui.widgets.pick_list import matches

FormatChoice = tuple[ExportFormat, bool]
"""A format, and whether tokens are coloured by their probability."""


class ExportFormatPicker(Picker["FormatChoice | None", "FormatChoice"]):
    """Picks an export format, with or without probabilities."""

    def __init__(self, title: str) -> None:
        super().__init__(title, say("export.keys"), say("export.search"))

    async def find(self, words: str) -> None:
        found = [
            (format, probabilities)
            for format in EXPORT_FORMATS
            for probabilities in ((False, True) if format.shows_probabilities else (False,))
            if matches(words, format.name, format.suffix, _words(format, probabilities))
        ]
        rows = [
            Content.assemble(_words(*each), (f"  {each[0].suffix}", "$foreground-muted"))
            for each in found
        ]
        self.show(found, rows, 0, say("export.none"))

    def choose(self, item: FormatChoice) -> None:
        self.dismiss(item)


def _words(format: ExportFormat, probabilities: bool) -> str:
    name = say(f"export.format.{format.name}")
    return say("export.with_probabilities", form=name) if probabilities else name
