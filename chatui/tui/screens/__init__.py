"""The screens of the app, each with its stylesheet beside it."""

COMPACT_BELOW_CELLS = 80
"""Below this width the main screen has the class "-compact": narrow margins."""

NARROW_BELOW_CELLS = 90
"""Below this width a panel covers the conversation, as long as it has the keys."""

LOW_BELOW_ROWS = 16
"""Below this height a list over the screen has the class "-low": no space around it."""

SHORT_BELOW_ROWS = 12
"""Below this height a screen has the class "-short": no frames, margins or title.

Textual's breakpoints would give the usual height a class too, and style everything again for it.
"""
