"""The app in a browser: a server on loopback, and an app process for each page."""

PAGE_DRIVER = "chatui.web.page_driver:PageDriver"
"""Value of ``TEXTUAL_DRIVER`` for an app that a page shows."""
