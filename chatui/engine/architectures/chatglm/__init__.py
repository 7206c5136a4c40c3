"""ChatGLM-6B (v1, 2023), native: what its own remote code did on the transformers of its time.

Light to import: torch and transformers come in with `register` and with the modules that need
them (`modeling`, `quantisation`, `prefix`, `tokenization`); `streaming` is plain Python.
"""

from __future__ import annotations


def register() -> None:
    """Teach transformers' Auto classes the model type "chatglm"; calling it again changes nothing.

    Afterwards `AutoConfig`, `AutoTokenizer`, `AutoModel` and `AutoModelForCausalLM` load
    ChatGLM-6B folders without `trust_remote_code`, whatever code the folder itself names.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

    from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig
    from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM, ChatGLMModel
    from chatui.engine.architectures.chatglm.tokenization import ChatGLMTokenizer

    AutoConfig.register(ChatGLMConfig.model_type, ChatGLMConfig, exist_ok=True)
    AutoModel.register(ChatGLMConfig, ChatGLMModel, exist_ok=True)
    AutoModelForCausalLM.register(ChatGLMConfig, ChatGLMForCausalLM, exist_ok=True)
    AutoTokenizer.register(ChatGLMConfig, ChatGLMTokenizer, exist_ok=True)
