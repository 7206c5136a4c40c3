"""How the embedded model was made: from the corpus to the weights in assets/shiyou."""
