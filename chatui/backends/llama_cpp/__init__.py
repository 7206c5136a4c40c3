"""GGUF files through llama.cpp (llama-cpp-python, the extra ``chatui[llama]``)."""
