"""Download models from a hub and delete them; interrupted downloads are resumed."""
