"""The forms of an export, to choose from."""

from __future__ import annotations

from textual.content import Content

from chatui.conversation.export_forms import FORMS, ExportForm
from chatui.locales import say
from chatui.tui.screens.picker import Picker

Choice = tuple[ExportForm, bool]
"""A form, and whether each token is coloured by its probability."""


class FormPicker(Picker["Choice | None", "Choice"]):
    """Gives the form that the user picks, and whether with probabilities."""

    def __init__(self, title: str) -> None:
        super().__init__(title, say("export.keys"), say("export.search"))

    async def find(self, words: str) -> None:
        found = [
            (form, probabilities)
            for form in FORMS
            for probabilities in ((False, True) if form.shows_probabilities else (False,))
        ]
        names = [_words(*choice) for choice in found]
        wanted = words.strip().lower()
        hits = [
            (choice, name)
            for choice, name in zip(found, names, strict=True)
            if wanted in f"{choice[0].name} {choice[0].suffix} {name}".lower()
        ]
        rows = [
            Content.assemble(name, (f"  {form.suffix}", "$foreground-muted"))
            for (form, _), name in hits
        ]
        self.show([choice for choice, _ in hits], rows, 0, say("export.none"))

    def choose(self, item: Choice) -> None:
        self.dismiss(item)


def _words(form: ExportForm, probabilities: bool) -> str:
    name = say(f"export.form.{form.name}")
    return say("export.with_probabilities", form=name) if probabilities else name
