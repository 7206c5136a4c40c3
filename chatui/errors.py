"""The one exception for what a user can cause."""


class ChatuiError(Exception):
    """An error with one plain sentence for the user and, where there is one, the next step.

    Everything else that is raised is a bug and keeps its traceback in the log file.
    """


class BackendLost(ChatuiError):
    """The backend has no model any more (its process died, its server went away): load again."""
