"""chatui: talk in rounds with Chinese language models on your own machine."""

__version__ = "0.1.0"
