"""Exceptions for errors that a user can cause."""


class ChatuiError(Exception):
    """An error that a user can cause, with a sentence that says what is wrong and what to do.

    All other exceptions are bugs and are logged with their traceback.
    """


class BackendLost(ChatuiError):
    """The backend lost its model: its process died or its server is gone. Load it again."""
