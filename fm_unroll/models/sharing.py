"""Released networks on the Hugging Face hub: ``hf://OWNER/NAME``, taken at one commit, tensors alone."""

import re
import warnings
from pathlib import Path

from fm_unroll import hub
from fm_unroll.errors import InputError
from fm_unroll.files import at_home, file_sha256
from fm_unroll.models.release import FILE

PREFIX = "hf://"
# The cache's folder of a repository at a commit: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
CACHED = re.compile(
    rf"models--(?P<owner>[^/]+)--(?P<name>[^/]+)/snapshots/(?P<commit>[0-9a-f]{{40}})/{re.escape(FILE)}"
)


def on_hub(text: Path | str) -> bool:
    """Whether a network is named by its place on the hub, not by a path."""
    return str(text).startswith(PREFIX)


def repository_of(text: str) -> tuple[str, str]:
    """Repository and revision in ``hf://OWNER/NAME[@REVISION]``.

    Raises:
        InputError: it is written in another way, or is no name on the hub.
    """
    repository, at, revision = text.removeprefix(PREFIX).partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or (at and not revision):
        raise InputError(f"{text}: write hf://OWNER/NAME, or hf://OWNER/NAME@REVISION")
    hub.require_name(repository, revision or hub.MAIN)
    return repository, revision or hub.MAIN


def locate(network: Path | str) -> Path:
    """The file of a network as a user names it.

    Args:
        network: a path; or ``hf://OWNER/NAME``, with ``@`` and a branch, tag or commit behind it. That is
            brought into the hub's cache, unless it is there. Where the hub cannot be reached, the commit that
            was fetched last is taken; :func:`named` says which.

    Raises:
        InputError: no such repository or revision, it is not for everybody, has no ``model.safetensors``, or
            is neither within reach nor in the cache; or the file is damaged.
    """
    if not on_hub(network):
        return at_home(network)
    repository, revision = repository_of(str(network))
    path = _from_hub(str(network), repository, revision)
    if path is None:
        raise InputError(
            f"{network} has no {FILE}, and nothing else is loaded, as pickles can run code: its owner can "
            "publish one by `python -m fm_unroll release`"
        )
    stated = hub.stated_sha256(path)
    if stated and (found := file_sha256(path)) != stated:
        raise InputError(
            f"{path}: SHA-256 {found} is not {stated}, the published one: delete {path.resolve()}"
        )
    return path


def _from_hub(network: str, repository: str, revision: str) -> Path | None:
    """The file in the cache, newly fetched where that is possible; None where the repository has none."""
    kept = hub.cached(repository, FILE, revision)
    if kept and revision == kept.parent.name:
        return kept  # a commit never changes
    try:
        return hub.download(repository, FILE, revision) if hub.publishes(repository, FILE, revision) else None
    except hub.OutOfReach as reason:
        if kept is None and hub.known_absent(repository, FILE, revision):
            return None
        if kept is None:
            raise InputError(
                f"{network}: {reason}, and no copy of {FILE} is in its cache here: give the command once "
                "where there is a network, or the path of a file"
            ) from reason
        warnings.warn(f"{reason}: taking {named(kept)}, which was fetched before", stacklevel=3)
        return kept


def named(path: Path) -> str:
    """How results name a network: ``hf://OWNER/NAME@COMMIT`` of a file in the hub's cache, else its path."""
    found = CACHED.fullmatch("/".join(path.parts[-4:]))
    return f"{PREFIX}{found['owner']}/{found['name']}@{found['commit']}" if found else str(path)


def kept_at(name: str) -> Path | None:
    """The file that :func:`named` named, if it is still there; the hub is not asked."""
    if not on_hub(name):
        return path if (path := Path(name)).is_file() else None
    repository, commit = repository_of(name)
    return hub.cached(repository, FILE, commit)
