"""From a hub onto this disk: what a model needs, in downloads that can be resumed."""
