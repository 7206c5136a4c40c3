"""Text generation, in a separate process. Importing this package does not import torch."""
