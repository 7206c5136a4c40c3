"""The screens of the app, each with its stylesheet beside it.

Below the sizes defined here a screen has a CSS class. Textual's breakpoints are not used: they give
the usual sizes a class too, and restyle everything for it.
"""

COMPACT_BELOW_CELLS = 80
"""Width below which the main screen has the class "-compact": narrow margins."""

NARROW_BELOW_CELLS = 90
"""Width below which a panel has the class "-narrow": it covers the conversation while focused."""

LOW_BELOW_ROWS = 16
"""Height below which a picker has the class "-low": no space around it."""

SHORT_BELOW_ROWS = 12
"""Height below which a screen has the class "-short": no frames, margins or title."""
