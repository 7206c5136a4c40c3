"""The exceptions for errors that a user can cause."""


class ChatuiError(Exception):
    """An error that a user can cause: one plain sentence, with the next step if there is one.

    Everything else that is raised is a bug and keeps its traceback in the log file.
    """


class BackendLost(ChatuiError):
    """The backend has no model any more (its process died, its server went away): load again."""
