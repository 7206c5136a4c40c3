"""The screens of the app, each with its stylesheet beside it."""

TALL_ROWS = 12
"""Below this height a screen has the class "-short": no frames, margins or title.

Textual's breakpoints would give the usual height a class too, and style everything again for it.
"""
