"""Text generation itself, in a process of its own. Importing this package imports no torch."""
