"""The forms of an export, to choose from."""

from __future__ import annotations

from textual.content import Content

from chatui.conversation.export_formats import EXPORT_FORMATS, ExportFormat
from chatui.locales import say
from chatui.tui.screens.picker import Picker
from chatui.tui.widgets.pick_list import matches

FormChoice = tuple[ExportFormat, bool]
"""A form, and whether each token is coloured by its probability."""


class FormPicker(Picker["FormChoice | None", "FormChoice"]):
    """Gives the form that the user picks, and whether with probabilities."""

    def __init__(self, title: str) -> None:
        super().__init__(title, say("export.keys"), say("export.search"))

    async def find(self, words: str) -> None:
        found = [
            (form, probabilities)
            for form in EXPORT_FORMATS
            for probabilities in ((False, True) if form.shows_probabilities else (False,))
            if matches(words, form.name, form.suffix, _words(form, probabilities))
        ]
        rows = [
            Content.assemble(_words(*each), (f"  {each[0].suffix}", "$foreground-muted"))
            for each in found
        ]
        self.show(found, rows, 0, say("export.none"))

    def choose(self, item: FormChoice) -> None:
        self.dismiss(item)


def _words(form: ExportFormat, probabilities: bool) -> str:
    name = say(f"export.form.{form.name}")
    return say("export.with_probabilities", form=name) if probabilities else name
