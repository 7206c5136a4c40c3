"""The app in a browser: a server, and an app process for each page."""

PAGE_DRIVER = "chatui.web.page_driver:PageDriver"
"""Value of ``TEXTUAL_DRIVER`` for the app of a page."""
