"""Find and resize the tables with a row for each token: embedding, head and the head's bias."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def table_names(model: Any) -> dict[str, Tensor]:
    """Return the embedding, the head and its bias by name; tied ones under each of their names."""
    head = model.get_output_embeddings()
    tables = [model.get_input_embeddings().weight]
    if head is not None:
        tables += [head.weight, getattr(head, "bias", None)]
    table_ids = {id(table) for table in tables if table is not None}
    named = model.named_parameters(remove_duplicate=False)
    return {name: parameter for name, parameter in named if id(parameter) in table_ids}


def resized_features(model: Any, rows: int) -> dict[str, tuple[int, int]]:
    """Return the input and output sizes of embedding and head with ``rows`` tokens, by name."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    return {
        name: (rows, module.embedding_dim) if module is embedding else (module.in_features, rows)
        for name, module in model.named_modules()
        if module is embedding or module is head
    }


def resize_rows(table: Tensor, rows: int) -> Tensor:
    """Truncate a table to ``rows`` rows, or extend it by the mean of its rows.

    The mean changes the probabilities of the other tokens least (Hewitt 2021, "Initializing New
    Word Embeddings for Pretrained Language Models").
    """
    missing = rows - table.shape[0]
    if missing <= 0:
        return table[:rows]
    mean = table.float().mean(dim=0, keepdim=True).to(table.dtype)
    longer = table.new_empty((rows, *table.shape[1:]))
    longer[: table.shape[0]] = table
    longer[table.shape[0] :] = mean
    return longer
