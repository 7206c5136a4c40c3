"""Plan a fetch: find the missing files of a model by its name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from chatui import readable
from chatui.catalog import library
from chatui.catalog.fetching.hub_errors import RepositoryUnavailable
from chatui.catalog.fetching.hubs import Hub, HubFile, Repository, Source, hub_of
from chatui.catalog.fetching.needed_files import needed_files
from chatui.catalog.local_models import (
    find_part,
    hugging_face_cache,
    hugging_face_snapshot,
    modelscope_root,
)
from chatui.catalog.model_files import has_all_files
from chatui.catalog.recognise import why_unsupported
from chatui.catalog.resolving import missing_parts, why_missing
from chatui.catalog.schema import Part, Role, is_hub_id
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings
from chatui.text import in_quotes, similar_names


@dataclass(frozen=True)
class FetchPlan:
    """The files to fetch for a model.

    Attributes:
        name: name given by the user.
        repositories: one for each repository.
        notes: sentences to show before the fetch.
    """

    name: str
    repositories: tuple[Repository, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[HubFile, ...]:
        return tuple(file for repository in self.repositories for file in repository.files)

    @property
    def total_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def kept_bytes(self) -> int:
        """Bytes already on this disk."""
        return sum(file.kept_bytes for file in self.files)


def plan(
    name: str, settings: Settings, *, source: Source | None = None, mirror: str = ""
) -> FetchPlan:
    """Plan which files to fetch so that ``name`` can be resolved; asks the hubs for their files.

    Args:
        name: a preset, a hub's "owner/name", or "owner/name/path/of/a/file".
        source: preferred hub; None prefers Hugging Face.
        mirror: address of a mirror of that hub.

    Raises:
        ChatuiError: there is no such preset or repository, it may not be read, the hub cannot be
            reached, or the disk has no room.
    """
    planner = _Planner(settings, source, _checked_mirror(mirror) if mirror else "")
    preset = library.load().find(name)
    if preset:
        if preset.fields.lacks:
            planner.notes.append(str(preset.fields.lacks))
        missing = missing_parts(preset, settings)
        if missing and not any(part.on_hub for part in missing):
            # No hub has any of them.
            raise ChatuiError(why_missing(preset, missing))
        for role, part in preset.parts_by_role:
            planner.add(part, role)
    else:
        part = part_of_hub(name, source or "hf")
        planner.add(part, "base")
        if not part.file:
            planner.note_unsupported()
    repositories = tuple(planner.repositories())
    fetch_plan = FetchPlan(name, repositories, tuple(dict.fromkeys(planner.notes)))
    _check_room(fetch_plan)
    return fetch_plan


def part_of_hub(name: str, source: Source) -> Part:
    """Parse a hub's "owner/name" or "owner/name/path/of/a/file".

    Raises:
        ChatuiError: it has another form; presets with similar names are suggested.
    """
    steps = name.split("/")
    hub_id, file = "/".join(steps[:2]), "/".join(steps[2:])
    if not is_hub_id(hub_id):
        if skipped := library.why_skipped(name):
            raise ChatuiError(skipped)
        near = similar_names(name, library.load().by_name)
        key = "fetching.unknown_near" if near else "fetching.unknown"
        raise ChatuiError(say(key, name=in_quotes(name), names=near))
    return Part(modelscope=hub_id, file=file) if source == "modelscope" else Part(hub_id, file=file)


def _checked_mirror(url: str) -> str:
    """Check a mirror's address and remove "/" at its end.

    Raises:
        ChatuiError: it is not an http or https address.
    """
    address = url.strip()
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not address.isprintable() or " " in address:
        raise ChatuiError(say("fetching.no_mirror", url=in_quotes(url)))
    return address.rstrip("/")


_Key: TypeAlias = tuple[Source, str, str]
"""Hub, id and revision of a repository."""


@dataclass
class _Planner:
    """Collects the needed files of each repository.

    Attributes:
        notes: sentences for the user.
    """

    settings: Settings
    source: Source | None
    mirror: str
    notes: list[str] = field(default_factory=list)
    _hubs: dict[Source, Hub] = field(default_factory=dict)
    _listed: dict[_Key, Repository] = field(default_factory=dict)
    _wanted: dict[_Key, set[str]] = field(default_factory=dict)

    def add(self, part: Part, role: Role) -> None:
        """Add the files of ``part``, unless the user already has a copy elsewhere."""
        copy = self._users_copy(part)
        if copy:
            if not part.asset:
                self.notes.append(say("fetching.present", part=part.title, path=copy))
            return
        source = self._source_of(part)
        if source is None:
            self.notes.append(say("fetching.on_no_hub", part=part.title))
            return
        key = self._readable_repository(part, source)
        repository = self._listed[key]
        paths = [file.path for file in repository.files]
        wanted = {*needed_files(repository.hub_id, paths, part, role)}
        # The branch will point to this commit, so files of an earlier commit are needed here too.
        before = hugging_face_snapshot(repository.hub_id, part.revision) if source == "hf" else None
        if before:
            wanted |= {path for path in paths if (before / path).is_file()}
        self._wanted.setdefault(key, set()).update(wanted)

    def note_unsupported(self) -> None:
        """Add a note for each model that cannot run here."""
        for repository in self._listed.values():
            if reason := why_unsupported(repository.config):
                self.notes.append(say("catalog.cannot_run", name=repository.hub_id, reason=reason))

    def repositories(self) -> Iterator[Repository]:
        """Yield each repository with its needed files, the largest first: it takes longest."""
        for key, wanted in self._wanted.items():
            files = (file for file in self._listed[key].files if file.path in wanted)
            ordered = sorted(files, key=lambda file: -file.size_bytes)
            yield replace(self._listed[key], files=tuple(ordered))

    def _users_copy(self, part: Part) -> Path | None:
        """Return the path of a copy that makes a fetch unnecessary; None without one."""
        found = find_part(part, self.settings)
        if found is None or found.is_relative_to(hugging_face_cache()):
            return None
        if not found.is_relative_to(modelscope_root()):
            return found
        return found if part.hf and self.source is None and has_all_files(found) else None

    def _source_of(self, part: Part) -> Source | None:
        """Return the hub to fetch a part from; None if no hub has it."""
        ids: dict[Source, str] = {"hf": part.hf, "modelscope": part.modelscope}
        having = [source for source, hub_id in ids.items() if hub_id]
        if self.source in having:
            return self.source
        if having and self.source:
            title = self._hub(self.source).title
            self.notes.append(say("fetching.other_hub", part=part.title, title=title))
        return having[0] if having else None

    def _readable_repository(self, part: Part, source: Source) -> _Key:
        """List the first repository with the part that may be read, and return its key."""
        ids = [part.hf, *part.also] if source == "hf" else [part.modelscope]
        # Resume a partly fetched repository.
        ids.sort(key=lambda hub_id: hugging_face_snapshot(hub_id, part.revision) is None)
        refused: RepositoryUnavailable | None = None
        for hub_id in ids:
            key = source, hub_id, part.revision if source == "hf" else ""
            try:
                if key not in self._listed:
                    self._listed[key] = self._hub(source).repository(*key[1:])
            except RepositoryUnavailable as error:
                refused = refused or error
                continue
            if refused:
                self.notes.append(say("fetching.instead", reason=refused, hub_id=hub_id))
            return key
        assert refused is not None
        raise refused

    def _hub(self, source: Source) -> Hub:
        if source not in self._hubs:
            # A mirror has the protocol of one hub only.
            mirror = self.mirror if source == (self.source or "hf") else ""
            self._hubs[source] = hub_of(source, mirror)
        return self._hubs[source]


def _check_room(fetch_plan: FetchPlan) -> None:
    """Raise ChatuiError if a disk has too little free space for its files."""
    needs: dict[int, tuple[Path, int]] = {}
    for file in fetch_plan.files:
        folder = file.content.parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        disk = folder.stat().st_dev
        missing = file.size_bytes - file.kept_bytes
        needs[disk] = (folder, needs.get(disk, (folder, 0))[1] + missing)
    for folder, missing in needs.values():
        free = shutil.disk_usage(folder).free
        if missing > free:
            sizes = {"needed": missing, "free": free, "short": missing - free}
            words = {name: readable.size(size) for name, size in sizes.items()}
            raise ChatuiError(say("fetching.no_room", name=fetch_plan.name, path=folder, **words))
