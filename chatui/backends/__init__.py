"""The plug: one protocol, and behind it the engine process, llama.cpp and servers."""
