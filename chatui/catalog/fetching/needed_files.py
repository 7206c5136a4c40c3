"""Select the files of a repository that a model needs: one form of the weights, and the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from chatui.catalog.fetching.hub import ListedFile
from chatui.catalog.schema import Part, Role, pull_command
from chatui.errors import ChatuiError
from chatui.locales import say

_SHARD = r"(?:-\d{5}-of-\d{5})?"
_MODEL_FORMS = (
    re.compile(rf"model{_SHARD}\.safetensors"),
    re.compile(rf"pytorch_model{_SHARD}\.bin"),
)
_ADAPTER_FORMS = (
    re.compile(rf"adapter_model{_SHARD}\.safetensors"),
    re.compile(rf"adapter_model{_SHARD}\.bin"),
)
_OTHER_FORMS = tuple(re.compile(rf".*\.{suffix}") for suffix in ("safetensors", "bin", "pth|pt"))
_GGUF = re.compile(r"(?!mmproj).*\.gguf")
_NO_WEIGHTS = re.compile(
    r"training_args\..*|optimizer.*|scheduler.*|rng_state.*|openvino.*|.*\.fp16\..*|flax_model.*"
)
_SMALL_FILES = re.compile(
    r".*\.(json|model|jinja|tiktoken|spm|vocab)|.*vocab.*\.txt|merges\.txt|spiece.*"
)
_UNUSED_FILES = re.compile(
    r".*\.index\.json|trainer_state\.json|\w*_?results\.json|training_args\.json|"
    r"quant_log.*|configuration\.json"
)
_SHARD_NAME = re.compile(r"(?P<stem>.*)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\..*)")


def needed_files(
    hub_id: str, files: Sequence[ListedFile], part: Part, role: Role
) -> list[ListedFile]:
    """Return the files needed for ``part``.

    If the part names a file, only that file is needed, with all its shards. Otherwise the part's
    folder without its subfolders is searched: safetensors are preferred to ``.bin``, and a complete
    set of shards to one with gaps. A tokenizer needs no weights.

    Raises:
        ChatuiError: the file, the folder or the weights do not exist, or the folder holds several
            models, one of which must be named.
    """
    safe = [file for file in files if _is_safe(file.path)]
    folder = part.folder.strip("/")
    if part.file:
        return _named(hub_id, safe, f"{folder}/{part.file}" if folder else part.file)
    by_name = {f.path.rpartition("/")[2]: f for f in safe if f.path.rpartition("/")[0] == folder}
    if not by_name:
        raise ChatuiError(say("fetching.empty", hub_id=hub_id, folder=folder or "/"))
    weights = _weights(hub_id, set(by_name)) if role != "tokenizer" else set()
    return [
        file
        for name, file in by_name.items()
        if name in weights
        or (name.endswith(".index.json") and _goes_with(name, weights))
        or (_SMALL_FILES.fullmatch(name) and not _UNUSED_FILES.fullmatch(name))
    ]


def _named(hub_id: str, files: Sequence[ListedFile], path: str) -> list[ListedFile]:
    by_path = {file.path: file for file in files}
    if path not in by_path:
        name = path.rpartition("/")[2].casefold()
        near = next((p for p in by_path if p.rpartition("/")[2].casefold() == name), "")
        key = "fetching.no_file_near" if near else "fetching.no_file"
        raise ChatuiError(say(key, hub_id=hub_id, path=path, near=near))
    return [by_path[shard] for shard in with_shards(path, by_path)]


def with_shards(path: str, paths: Iterable[str]) -> list[str]:
    """Return ``path`` and the other shards of the same file, if they are among ``paths``."""
    split = _SHARD_NAME.fullmatch(path)
    if not split:
        return [other for other in paths if other == path]
    shards = (_SHARD_NAME.fullmatch(other) for other in paths)
    return [shard.string for shard in shards if shard and shard.groups() == split.groups()]


def _weights(hub_id: str, names: set[str]) -> set[str]:
    """Return the names of the weights of a model, an adapter or both, in one form each."""
    named = _one_form(names, _MODEL_FORMS) | _one_form(names, _ADAPTER_FORMS)
    if named:
        return named
    one_of_many = set(filter(_GGUF.fullmatch, names))
    if not one_of_many:
        candidates = {name for name in names if not _NO_WEIGHTS.fullmatch(name)}
        found = _one_form(candidates, _OTHER_FORMS)
        if found and (len(found) == 1 or "config.json" in names):
            return found
        one_of_many = found
    if not one_of_many:
        raise ChatuiError(say("fetching.no_weights", hub_id=hub_id))
    models = sorted({_SHARD_NAME.sub(r"\g<stem>\g<suffix>", name) for name in one_of_many})
    if len(models) > 1:
        command = pull_command(f"{hub_id}/{sorted(one_of_many)[0]}")
        listed = ", ".join(models[:12]) + (", …" if len(models) > 12 else "")
        words = {"hub_id": hub_id, "names": listed, "command": command}
        raise ChatuiError(say("fetching.several_models", **words))
    return one_of_many


def _one_form(names: set[str], forms: Sequence[re.Pattern[str]]) -> set[str]:
    """Return the names in the first complete form, else in the first form with any file."""
    sets = [found for form in forms if (found := set(filter(form.fullmatch, names)))]
    for found in sets:
        single = {name for name in found if not _SHARD_NAME.fullmatch(name)}
        if single:
            return single
        if all(_has_all_shards(found, name) for name in found):
            return found
    return sets[0] if sets else set()


def _has_all_shards(found: set[str], name: str) -> bool:
    split = _SHARD_NAME.fullmatch(name)
    if not split:
        return True
    stem, count, suffix = split.group("stem", "count", "suffix")
    pieces = range(1, int(count) + 1)
    return all(f"{stem}-{piece:05}-of-{count}{suffix}" in found for piece in pieces)


def _goes_with(index: str, weights: Iterable[str]) -> bool:
    """True if ``index`` is the index of shards in ``weights``."""
    stem, _, suffix = index.removesuffix(".index.json").rpartition(".")
    return any(w.startswith(f"{stem}-") and w.endswith(f".{suffix}") for w in weights)


def _is_safe(path: str) -> bool:
    """True if a path from a server stays inside the folder it is saved in."""
    steps = path.split("/")
    return all(step not in ("", ".", "..") for step in steps) and not set(path) & set("\\:\0")
