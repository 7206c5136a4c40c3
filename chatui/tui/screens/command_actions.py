"""Running commands by name, and the actions on the settings of a conversation."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual._callback import invoke
from textual.actions import parse
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import OptionList

from chatui.locales import say
from chatui.sampling import SETTINGS
from chatui.text import in_quotes
from chatui.tui import commands
from chatui.tui.commands import Command
from chatui.tui.screens.import_export_actions import ImportExportActions
from chatui.tui.setting_changes import parse_setting
from chatui.tui.widgets.query_box import QueryBox

_TO_PRESET = ("preset", "-", "预设")
"""Arguments that return a setting to the preset's value."""


class CommandActions(ImportExportActions):
    """Runs commands from the query box and the palette, and changes settings."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+p", "palette", "tui.keys.palette"),
        Binding("alt+s", "panel", "tui.keys.panel"),
    ]

    def _after_first_paint(self) -> None:
        super()._after_first_paint()
        self._box.commands = commands.COMMANDS
        self.run_worker(self._find_prompts())

    async def _find_prompts(self) -> None:
        """Read the user's prompts, which are commands too."""
        prompts, problems = await asyncio.to_thread(commands.prompt_commands)
        self._box.commands = (*commands.COMMANDS, *prompts)
        if any(not prompt.name.isascii() for prompt in prompts):
            from chatui import hanzi

            await asyncio.to_thread(hanzi.prepare)
        for problem in problems:
            self.app.warn_once(problem)

    @on(QueryBox.Submitted)
    async def _on_query_submitted(self, event: QueryBox.Submitted) -> None:
        if not await self.finish_edit(event.text):
            await self.send(event.text)

    async def send(self, text: str) -> None:
        """Run the command that a text begins with, or send the text as a query."""
        called = commands.split(text)
        if called is None:
            await self.ask(text)
            return
        name, rest = called
        command = commands.find(self._box.commands, name)
        if command is None:
            await self._find_prompts()
            meant = commands.matching(self._box.commands, name, rest)
            if len(meant) > 1:
                names = ", ".join(f"/{each.name}" for each in meant)
                self.app.hint("tui.command.several", name=in_quotes("/" + name), names=names)
                self._give_back((text,))
                return
            command = next(iter(meant), None)
        if command is None or (rest and not command.takes_argument):
            key = "unknown" if command is None else "takes_nothing"
            self.app.hint(f"tui.command.{key}", name=in_quotes("/" + name))
            await self.ask(text)
        else:
            await self.run_command(command, rest)

    async def run_command(self, command: Command, rest: str = "") -> None:
        """Run a command.

        Args:
            rest: the argument after its name.
        """
        if command.prompt:
            selection = self.get_selected_text() or self._chosen_reply_text()
            self.app.turns.ask(command.query(rest, selection))
        elif not rest:
            await self.run_action(command.action)
        else:
            _, name, parameters = parse(command.action)
            await invoke(getattr(self, f"action_{name}"), *parameters, rest)

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Complete a command by a click."""
        shown = self._box.completions
        if shown is not None and event.option_list is shown:
            self._box.accept_completion(shown.commands[event.option_index])
            self._box.focus()

    async def action_palette(self) -> None:
        from chatui.tui.screens.picker import CommandPaletteScreen

        async def take(chosen: Command) -> None:
            if chosen.prompt:
                self._box.accept_completion(chosen)
            else:
                await self.run_command(chosen)

        await self._find_prompts()
        await self.show_picker(CommandPaletteScreen(self._box.commands), take)

    def _chosen_reply_text(self) -> str:
        view = self._conversation.chosen
        return "" if view is None else view.round.reply

    # Settings of the conversation

    def action_setting(self, name: str, typed: str = "") -> None:
        """Change a sampling setting of this conversation; without a value, show it."""
        turns = self.app.turns
        current, preset = turns.current, turns.spec.sampling
        with self.reporting_errors():
            if typed:
                value = getattr(preset, name) if typed in _TO_PRESET else parse_setting(name, typed)
                current.changes = current.changes.with_setting(name, value, preset)
            value = getattr(current.changes.sampling_for(turns.spec), name)
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            shown = say("tui.command.unset") if value is None else shown
            is_changed = name in current.changes.sampling
            if typed:
                key = "changed" if is_changed else "of_preset"
                self.app.hint(f"tui.command.{key}", name=name, value=shown)
            else:
                origin = say("tui.command.set_here" if is_changed else "tui.command.set_in_preset")
                about = SETTINGS[name].range
                self.app.hint(
                    "tui.command.current", name=name, value=shown, origin=origin, range=about
                )

    def change_system(self, text: str | None) -> None:
        current = self.app.turns.current
        current.changes = replace(current.changes, system=text)
        self.app.hint("tui.command.system_preset" if text is None else "tui.command.system_changed")

    def action_edit_system(self, text: str = "") -> None:
        """Set the system prompt of this conversation, or edit it in the query box."""
        if text:
            self.change_system(None if text in _TO_PRESET else text)
            return
        turns, words = self.app.turns, say("tui.rewrite.system")
        system = turns.current.changes.system
        text = turns.spec.system or "" if system is None else system
        self.edit_in_box(text, words, self.change_system, may_be_empty=True)

    async def action_panel(self) -> None:
        """Open the settings panel and focus it, or close it."""
        from chatui.tui.widgets.settings_panel import SettingsPanel

        await self.toggle_panel(SettingsPanel(self.app.turns), "TokenPanel")

    async def toggle_panel(self, panel: Widget, other: str = "") -> None:
        """Open a panel, or close the visible one of the same class.

        Args:
            other: the class name of the panel that it replaces.
        """
        opened = self.query(type(panel))
        if any(each.display for each in opened):
            self._box.focus()
            await opened.remove()
        else:
            await self.query(f"{type(panel).__name__}, {other}".strip(", ")).remove()
            await self.mount(panel)
        self.set_class(bool(self.query("TokenPanel, SettingsPanel")), "-panel")

    async def action_save_preset(self, name: str = "") -> None:
        """Save the model with the changed settings as a preset of this name, or ask for a name."""
        from chatui.catalog.library import save_preset

        if not name:
            self._box.set_query("/save ")
            self.app.hint("tui.command.save")
            return
        turns = self.app.turns
        changes, spec = turns.current.changes, turns.spec
        changed = replace(
            spec,
            system=spec.system if changes.system is None else changes.system,
            sampling=changes.sampling_for(spec),
            stop_strings=(*spec.stop_strings, *changes.stop_strings),
            context=changes.window or spec.context,
            think=turns.think,
        )
        with self.reporting_errors(f"/save {name}"):
            file = await asyncio.to_thread(save_preset, name, changed)
            self.app.hint("tui.command.saved", name=name, path=file)
