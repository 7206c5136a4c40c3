"""OpenAI-compatible servers: vLLM, SGLang, llama-server, Ollama, LM Studio, transformers serve."""
