"""One function over many arguments, in processes, under a progress bar."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from fm_unroll.errors import InputError


def each(
    function: Callable[[Any], Any],
    arguments: Sequence[Any],
    workers: int,
    description: str,
    bundle: int = 1,
    patience: float = 0,
) -> Iterator[tuple[Any, Any]]:
    """Arguments with their results, in order, under a progress bar.

    Args:
        function: can be pickled. An :class:`InputError` that it raises is a result like others.
        arguments: one for each call.
        workers: processes that call it; 0: this one.
        description: what the progress bar says; it appears after a second.
        bundle: calls that a process makes at a time: above 1 where a call takes less time than a message.
        patience: seconds after which a call that does not return is given up, with an :class:`InputError` as
            its result; needs a process that can be killed, and calls that are not bundled. 0: none is.
    """
    with tqdm(desc=description, total=len(arguments), unit="file", delay=1) as bar:
        done = 0
        while done < len(arguments):
            loader = DataLoader(
                _Calls(function, arguments[done:]),
                batch_size=bundle,
                collate_fn=list,
                num_workers=workers if patience or len(arguments) > bundle else 0,
                timeout=patience,
                generator=torch.Generator(),  # a loader without one would advance the global random state
            )
            try:
                for result in chain.from_iterable(loader):
                    yield arguments[done], result
                    done += 1
                    bar.update()
            except RuntimeError as error:
                if "timed out" not in str(error):
                    raise
                yield arguments[done], InputError(f"{arguments[done]}: not read within {patience:g} s")
                done += 1
                bar.update()


class _Calls(Dataset):
    """A function's results, as a data set, so that a DataLoader's processes can compute them."""

    def __init__(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> None:
        self.function = function
        self.arguments = arguments

    def __len__(self) -> int:
        return len(self.arguments)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.function(self.arguments[index])
        except InputError as error:
            return error
