"""The Hugging Face hub: its cache on this machine, downloads into that, and folders published on it.

Encoders' weights and released networks take this one way. The client's own settings hold: ``HF_HOME``,
``HF_HUB_OFFLINE``, ``HF_TOKEN`` or what ``hf auth login`` left. No token is read here or printed.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fm_unroll.errors import InputError

MAIN = "main"  # the revision that is taken where none is named


class OutOfReach(InputError):
    """The hub cannot be asked: no network, or ``HF_HUB_OFFLINE`` is set."""


def require_name(repository: str, revision: str = MAIN) -> None:
    """Refuse what is no name of a repository or revision, before any path is made of it.

    Raises:
        InputError: it is none.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # its way in

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise InputError(f"{repository} is no name on the hub: {' '.join(str(error).split())}") from None
    if ".." in revision or not re.fullmatch(r"[\w.+/-]+", revision):  # as in git
        raise InputError(
            f"{repository} has no revision {revision!r}: give a branch, tag or commit of its page"
        )


def cached(repository: str, filename: str, revision: str = MAIN) -> Path | None:
    """Find a file in the hub's cache on this machine, in the folder of its commit.

    Args:
        repository: such as ``owner/name``.
        filename: in the repository.
        revision: a commit; or a branch or tag, which stand for the commit that was fetched last.

    Returns:
        None where the file is not there.
    """
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, filename, revision=revision)
    # else it is not there, or there is a note that the repository has no such file
    return Path(path) if isinstance(path, str) else None


def known_absent(repository: str, filename: str, revision: str = MAIN) -> bool:
    """Whether the cache has a note that the repository has no such file."""
    from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache

    return try_to_load_from_cache(repository, filename, revision=revision) is _CACHED_NO_EXIST


def publishes(repository: str, filename: str, revision: str = MAIN) -> bool:
    """Ask the hub, once, whether a repository has a file.

    The download itself would retry for half a minute where there is no network.

    Raises:
        InputError: no such repository or revision, or it is not for everybody; see :class:`OutOfReach`.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    with _one_line(repository, revision):
        try:
            get_hf_file_metadata(hf_hub_url(repository, filename, revision=revision))
        except EntryNotFoundError:
            return False
    return True


def download(repository: str, filename: str, revision: str = MAIN) -> Path | None:
    """Bring a file into the hub's cache, with a progress bar; one that is there already is only looked up.

    An interrupted download is resumed.

    Returns:
        None where the repository has no such file.

    Raises:
        InputError: as :func:`publishes`.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with _one_line(repository, revision):
        try:
            return Path(hf_hub_download(repository, filename, revision=revision))
        except LocalEntryNotFoundError:  # not in the cache, and the hub was not asked
            raise
        except EntryNotFoundError:
            return None


def stated_sha256(path: Path) -> str | None:
    """The SHA-256 that the hub states for a file in its cache; None for small files, which have none.

    The cache names a large file by it.
    """
    name = path.resolve().name
    return name if re.fullmatch("[0-9a-f]{64}", name) else None


def require_token() -> None:
    """Refuse to publish without a token, before any work.

    Raises:
        InputError: there is none.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise InputError(
            "the hub takes files from whoever is logged in: run `hf auth login`, or set HF_TOKEN, with a "
            "token that may write"
        )


def publish(folder: Path, repository: str, message: str) -> str:
    """Put all files of a folder into a repository, as one commit.

    A repository that is not there yet is made, private: its owner opens it to others on its page.

    Args:
        folder: without anything that is not to be published.
        repository: such as ``owner/name``.
        message: of the commit.

    Returns:
        The commit.

    Raises:
        InputError: the token may not write there; see :class:`OutOfReach`.
    """
    from huggingface_hub import HfApi

    with _one_line(repository, MAIN):
        api = HfApi(library_name="fm_unroll")
        api.create_repo(repository, private=True, exist_ok=True)
        return api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message).oid


@contextmanager
def _one_line(repository: str, revision: str) -> Iterator[None]:
    """Say in one line why the hub does not do what it is asked for, and what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise InputError(
            f"{repository} is for whoever its owner lets in: ask on its page, then log in by `hf auth login`"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"the hub has no repository {repository}, or it is private: check the name, or log in by "
            "`hf auth login` or HF_TOKEN as somebody who may read it"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{repository} has no revision {revision}: give a branch, tag or commit of its page"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise OutOfReach(f"the hub cannot be reached for {repository} ({_reason(error)})") from error
    except ValueError as error:  # such as a model card whose metadata it does not take
        raise InputError(
            f"the hub does not take this for {repository}: {' '.join(str(error).split())}"
        ) from error
    # the client has used several HTTP libraries, each with connection errors of its own
    except Exception as error:
        response = getattr(error, "response", None)
        if response is not None and response.status_code in (401, 403):
            raise InputError(
                f"the hub refuses {repository} ({_reason(error)}): log in by `hf auth login` or HF_TOKEN "
                "with a token that may do this"
            ) from error
        offline = isinstance(error, errors.OfflineModeIsEnabled)
        reason = "HF_HUB_OFFLINE is set" if offline else _reason(error)
        raise OutOfReach(f"the hub cannot be reached for {repository} ({reason})") from error


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
