"""Train the embedded model: from the corpus to the weights in assets/shiyou."""
