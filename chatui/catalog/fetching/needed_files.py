"""Select the files of a repository that a model needs: one form of the weights, and the rest."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

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


def needed_files(hub_id: str, paths: Collection[str], part: Part, role: Role) -> list[str]:
    """Return the paths of the files in a repository that ``part`` needs.

    If the part names a file, only that file is needed, with all its shards. Otherwise the part's
    folder without its subfolders is searched: safetensors are preferred to ``.bin``, and a complete
    set of shards to one with gaps. A tokenizer needs no weights.

    Raises:
        ChatuiError: the file, the folder or the weights do not exist, or the folder holds several
            models, one of which must be named.
    """
    folder = part.folder.strip("/")
    prefix = f"{folder}/" if folder else ""
    if part.file:
        return _named(hub_id, paths, prefix + part.file)
    below = (path.removeprefix(prefix) for path in paths if path.startswith(prefix))
    names = [name for name in below if "/" not in name]
    if not names:
        raise ChatuiError(say("fetching.empty", hub_id=hub_id, folder=folder or "/"))
    weights = _weights(hub_id, {*names}) if role != "tokenizer" else set()
    return [
        prefix + name
        for name in names
        if name in weights
        or (name.endswith(".index.json") and _goes_with(name, weights))
        or (_SMALL_FILES.fullmatch(name) and not _UNUSED_FILES.fullmatch(name))
    ]


def _named(hub_id: str, paths: Collection[str], path: str) -> list[str]:
    if path in paths:
        return with_shards(path, paths)
    name = path.rpartition("/")[2].casefold()
    near = next((other for other in paths if other.rpartition("/")[2].casefold() == name), "")
    key = "fetching.no_file_near" if near else "fetching.no_file"
    raise ChatuiError(say(key, hub_id=hub_id, path=path, near=near))


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
    found = set(filter(_GGUF.fullmatch, names))
    if not found:
        found = _one_form({n for n in names if not _NO_WEIGHTS.fullmatch(n)}, _OTHER_FORMS)
        if not found:
            raise ChatuiError(say("fetching.no_weights", hub_id=hub_id))
        if "config.json" in names:
            return found
    models = sorted({_SHARD_NAME.sub(r"\g<stem>\g<suffix>", name) for name in found})
    if len(models) > 1:
        command = pull_command(f"{hub_id}/{min(found)}")
        listed = ", ".join(models[:12]) + (", …" if len(models) > 12 else "")
        words = {"hub_id": hub_id, "names": listed, "command": command}
        raise ChatuiError(say("fetching.several_models", **words))
    return found


def _one_form(names: set[str], forms: Sequence[re.Pattern[str]]) -> set[str]:
    """Return the names in the first complete form, else in the first form with any file."""
    sets = [found for form in forms if (found := set(filter(form.fullmatch, names)))]
    for found in sets:
        single = {name for name in found if not _SHARD_NAME.fullmatch(name)}
        if single:
            return single
        if all(len(with_shards(name, found)) == _shard_count(name) for name in found):
            return found
    return sets[0] if sets else set()


def _shard_count(name: str) -> int:
    split = _SHARD_NAME.fullmatch(name)
    return int(split["count"]) if split else 1


def _goes_with(index: str, weights: Iterable[str]) -> bool:
    """True if ``index`` is the index of shards in ``weights``."""
    stem, _, suffix = index.removesuffix(".index.json").rpartition(".")
    return any(w.startswith(f"{stem}-") and w.endswith(f".{suffix}") for w in weights)
