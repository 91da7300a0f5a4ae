"""Published weights of encoders: where they lie in the hub's cache, downloads into it, their SHA-256."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fm_unroll import hub
from fm_unroll.encoders.registry import EncoderSpec
from fm_unroll.encoders.stated import CONFIG_FILES
from fm_unroll.errors import InputError
from fm_unroll.files import file_sha256


def cached_weights(spec: EncoderSpec) -> Path | None:
    """Find the encoder's weights file in the hub's cache on this machine; None where it is not there."""
    if spec.repository is None:
        return None
    found = (hub.cached(spec.repository, filename) for filename in spec.files)
    return next(filter(None, found), None)


def fetch_weights(spec: EncoderSpec) -> Path:
    """Download an encoder's weights into the hub's cache, with a progress bar, and check their SHA-256.

    The configuration files that their publisher put beside them come with them: they say what tensors do not
    tell. An interrupted download is resumed; a file that is there already is only checked. A file that fails
    the check is removed.

    Raises:
        InputError: there is nothing to fetch, the hub cannot be reached or refuses, or the file is not the
            published one.
    """
    if spec.repository is None:
        raise InputError(f"encoder '{spec.name}' has no published weights")
    path = cached_weights(spec)
    if path is None:
        path = _download(spec, spec.repository)
    else:
        with _one_line_for(spec, spec.repository):
            _fetch_configs(spec.repository, revision=path.parent.name)
    try:
        check_sha256(path, spec)
    except InputError:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise
    return path


def _download(spec: EncoderSpec, repository: str) -> Path:
    """Download the first of the encoder's files that the repository has, behind its configuration files."""
    for filename in spec.files:
        with _one_line_for(spec, repository):
            if hub.publishes(repository, filename):
                _fetch_configs(repository)
                if path := hub.download(repository, filename):
                    return path
    raise InputError(f"{repository} has none of the files {', '.join(spec.files)}: give weights=PATH")


def _fetch_configs(repository: str, revision: str = hub.MAIN) -> None:
    """Download those configuration files that the repository has and this machine has not asked for yet."""
    for filename in CONFIG_FILES:
        found = hub.cached(repository, filename, revision)
        if not found and not hub.known_absent(repository, filename, revision):
            with suppress(hub.OutOfReach):
                hub.download(repository, filename, revision)


@contextmanager
def _one_line_for(spec: EncoderSpec, repository: str) -> Iterator[None]:
    """Say in one line that a repository does not give what is asked of it."""
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{repository} does not give the files of '{spec.name}' ({error}): run "
            f"`python -m fm_unroll encoders fetch {spec.name}` with a network, or give weights=PATH"
        ) from error


def check_sha256(path: Path, spec: EncoderSpec) -> str:
    """Check a file in the hub's cache against the SHA-256 that the hub and the registry state for it.

    Returns:
        The SHA-256 of the file.

    Raises:
        InputError: the file has another SHA-256.
    """
    digest = file_sha256(path)
    expected = {stated} if (stated := hub.stated_sha256(path)) else set()
    if spec.sha256 is not None and path.name == spec.files[0]:
        expected.add(spec.sha256)
    for other in expected - {digest}:
        raise InputError(
            f"{path}: SHA-256 {digest} is not {other}, the published one: run "
            f"`python -m fm_unroll encoders fetch {spec.name}` again"
        )
    return digest
