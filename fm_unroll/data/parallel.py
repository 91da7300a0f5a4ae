"""One function over many arguments, in processes, under a progress bar."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from pebble import ProcessExpired, ProcessPool
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from fm_unroll.errors import InputError


def each(
    function: Callable[[Any], Any],
    arguments: Sequence[Any],
    workers: int,
    description: str,
    bundle: int = 1,
) -> Iterator[tuple[Any, Any]]:
    """Arguments with their results, in order, under a progress bar.

    Args:
        function: can be pickled. An :class:`InputError` that it raises is a result like others.
        arguments: one for each call.
        workers: processes that call it; 0: this one.
        description: what the progress bar says; it appears after a second.
        bundle: calls per message to a process; above 1 where a call takes less time than a message.
    """
    loader = DataLoader(
        _Calls(function, arguments),
        batch_size=bundle,
        collate_fn=list,
        num_workers=workers if len(arguments) > bundle else 0,
        generator=torch.Generator(),  # a loader without one would advance the global random state
    )
    bar = tqdm(chain.from_iterable(loader), desc=description, total=len(arguments), unit="file", delay=1)
    yield from zip(arguments, bar, strict=True)


def each_watched(
    function: Callable[[Any], Any],
    arguments: Sequence[Any],
    patience: float,
    description: str,
    name: Callable[[Any], object] = str,
) -> Iterator[tuple[Any, Any]]:
    """As :func:`each`, in one other process that may crash or never return: the result says so then.

    Args:
        function: can be pickled. An :class:`InputError` that it raises is a result like others.
        arguments: one for each call.
        patience: seconds after which a call is given up.
        description: what the progress bar says; it appears after a second.
        name: gives the name of an argument, for the result of a call that crashes or does not return.
    """
    bar = tqdm(arguments, desc=description, unit="file", delay=1)
    with ProcessPool(max_workers=1) as pool:
        results = pool.map(function, arguments, timeout=patience).result()
        try:
            for argument in bar:
                try:
                    yield argument, next(results)
                except InputError as error:
                    yield argument, error
                except TimeoutError:
                    yield argument, InputError(f"{name(argument)}: damaged; not read within {patience:g} s")
                except ProcessExpired as error:
                    yield argument, InputError(f"{name(argument)}: damaged; reading it crashes ({error})")
        except BaseException:
            pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves it without annotations
            raise


class _Calls(Dataset[Any]):
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
