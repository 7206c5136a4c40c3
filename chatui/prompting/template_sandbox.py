"""Jinja's sandbox for chat templates, as set up by transformers, with limits on work and output.

A template comes with a model's files and may be damaged or malicious. Loops, operators and output
are limited, so that ``{{ 'x' * 10**9 }}`` or nested loops end with a sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, ext, nodes
from jinja2.exceptions import TemplateError
from jinja2.parser import Parser
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from chatui.locales import say

_MOST_STEPS = 5_000_000
_STEPS_PER_MACRO = 100
_MACROS = (Macro, LoopContext)
_MOST_CHARACTERS = 100_000_000
_MOST_BITS = 1000
_SEQUENCES = (str, list, tuple)


class _Generation(ext.Extension):
    """``{% generation %}`` marks replies for training; only its body is rendered."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Limits(NodeTransformer):
    """Passes what loops read, and what "~" joins, through the environment's filters."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        node.iter = nodes.Filter(node.iter, "_steps", [], [], None, None, lineno=node.lineno)
        return self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Filter(node, "_measured", [], [], None, None, lineno=node.lineno)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one template."""

    intercepted_binops = frozenset({"+", "*", "**"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, ext.loopcontrols]
        )
        self._steps = 0
        self.filters |= {"tojson": _to_json, "_steps": self._counted, "_measured": self._measured}
        self.globals["raise_exception"] = _refuse
        self.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
        del self.globals["lipsum"]

    def limited(self, source: nodes.Template, names: dict[str, Any]) -> Callable[..., str]:
        """Compile a parsed template; return a function that renders it within the limits."""
        template: Template = self.from_string(_Limits().visit(source), globals=names)

        def render(**variables: Any) -> str:
            self._steps = 0
            parts: list[str] = []
            size = 0
            for part in template.generate(**variables):
                size += len(part)
                self._take_step(size)
                parts.append(part)
            return "".join(parts)

        return render

    def call(self, context: Any, called: Any, /, *args: Any, **named: Any) -> Any:
        """Call a function, a method or a macro, and count it."""
        self._steps += _STEPS_PER_MACRO if isinstance(called, _MACROS) else 0
        self._take_step(0)
        return super().call(context, called, *args, **named)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute an operator's result, unless it would be too large."""
        if operator == "**" and isinstance(right, int):
            self._take_step(right, _MOST_BITS)
        elif operator == "*":
            for text, times in ((left, right), (right, left)):
                if isinstance(text, _SEQUENCES) and isinstance(times, int):
                    self._take_step(len(text) * times)
        return self._measured(super().call_binop(context, operator, left, right))

    def _measured(self, value: Any) -> Any:
        if isinstance(value, _SEQUENCES):
            self._take_step(len(value))
        elif isinstance(value, int):
            self._take_step(value.bit_length(), _MOST_BITS)
        return value

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._take_step(0)
            yield item

    def _take_step(self, size: int, most: int = _MOST_CHARACTERS) -> None:
        """Count a step that makes something of ``size``; raises TemplateError beyond a limit."""
        self._steps += 1
        if self._steps > _MOST_STEPS or size > most:
            raise TemplateError(say("prompting.template_endless"))


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)
