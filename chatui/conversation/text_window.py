"""A sliding window over a text stream, for parsers of files too large for memory."""

from __future__ import annotations

import io
import re

_CHUNK_CHARACTERS = 1 << 19
_JSON_SPACE = re.compile(r"[ \t\r\n]*")


class TextWindow:
    """The part of a stream that is held in memory, and the position in it.

    Attributes:
        text: the text held.
        position: index in ``text`` of the next character to be parsed.
    """

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream = stream
        self._line = 1
        self._counted = 0
        self.text = ""
        self.position = 0

    def read_more(self) -> bool:
        """Drop the parsed text and read a chunk; return False at the end of the stream.

        A chunk is at least as long as the text that is left, so that a long value is read in few.
        """
        self.line()
        left = self.text[self.position :]
        chunk = self._stream.read(max(_CHUNK_CHARACTERS, len(left)))
        self.text = left + chunk
        self.position = self._counted = 0
        return bool(chunk)

    def line(self) -> int:
        """Return the line number of the position, from 1."""
        # Without a line break, find() is much faster than count().
        if self.text.find("\n", self._counted, self.position) >= 0:
            self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def next_character(self) -> str:
        """Skip JSON white space and return the character after it; "" at the end."""
        while True:
            found = _JSON_SPACE.match(self.text, self.position)
            self.position = found.end() if found else self.position
            if self.position < len(self.text):
                return self.text[self.position]
            if not self.read_more():
                return ""
