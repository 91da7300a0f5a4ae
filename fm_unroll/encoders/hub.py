"""Published weights: the Hugging Face hub's cache on this machine, downloads into it, and their SHA-256."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fm_unroll.encoders.registry import EncoderSpec
from fm_unroll.encoders.stated import CONFIG_FILES
from fm_unroll.errors import InputError
from fm_unroll.files import file_sha256


def cached_weights(spec: EncoderSpec) -> Path | None:
    """Find the encoder's weights file in the hub's cache on this machine; None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    if spec.repository is None:
        return None
    for filename in spec.files:
        path = try_to_load_from_cache(spec.repository, filename)
        if isinstance(path, str):
            return Path(path)
    return None


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
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for filename in spec.files:
        with _one_line_for(spec, repository):
            try:
                # asks once; the download itself would retry for half a minute where there is no network
                get_hf_file_metadata(hf_hub_url(repository, filename))
            except EntryNotFoundError:
                continue
            _fetch_configs(repository, revision="main")
            return Path(hf_hub_download(repository, filename))
    raise InputError(f"{repository} has none of the files {', '.join(spec.files)}: give weights=PATH")


def _fetch_configs(repository: str, revision: str) -> None:
    """Download those configuration files that the repository has and this machine has not asked for yet."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError

    for filename in CONFIG_FILES:
        # neither a path nor the note that the repository has no such file
        if try_to_load_from_cache(repository, filename, revision=revision) is None:
            with suppress(EntryNotFoundError):
                hf_hub_download(repository, filename, revision=revision)


@contextmanager
def _one_line_for(spec: EncoderSpec, repository: str) -> Iterator[None]:
    """Say in one line that a repository does not give what is asked of it."""
    try:
        yield
    # the client has used several HTTP libraries, each with connection errors of its own
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{repository} does not give the files of '{spec.name}' ({reason}): run "
            f"`python -m fm_unroll encoders fetch {spec.name}` with a network, or give weights=PATH"
        ) from error


def check_sha256(path: Path, spec: EncoderSpec) -> str:
    """Check a file in the hub's cache against the SHA-256 that the hub and the registry state for it.

    The cache names a large file by the SHA-256 that the hub states.

    Returns:
        The SHA-256 of the file.

    Raises:
        InputError: the file has another SHA-256.
    """
    digest = file_sha256(path)
    stated = path.resolve().name
    expected = {stated} if re.fullmatch("[0-9a-f]{64}", stated) else set()
    if spec.sha256 is not None and path.name == spec.files[0]:
        expected.add(spec.sha256)
    for other in expected - {digest}:
        raise InputError(
            f"{path}: SHA-256 {digest} is not {other}, the published one: run "
            f"`python -m fm_unroll encoders fetch {spec.name}` again"
        )
    return digest
