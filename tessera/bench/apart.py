"""A function run in a process of its own, with a ceiling on its memory and its time."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

T = TypeVar("T")
_GRACE = 5.0


class ApartError(RuntimeError):
    """The process gave no answer; the text says what became of it."""


def apart(work: Callable[..., T], *given: Any, memory_gb: float, seconds: float) -> T:
    """What `work(*given)` returns; both must be picklable by name.

    Args:
        work: A function of a module.
        given: Its arguments.
        memory_gb: Ceiling on the address space, above which the process is refused more.
        seconds: After so long it is ended.

    Raises:
        ApartError: It ran out of either, or failed.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(there, memory_gb, work, given), daemon=True)
    process.start()
    there.close()
    try:
        if not here.poll(seconds):
            raise ApartError(f"ended after {seconds / 60:.0f} min")
        answered, value = here.recv()
    except EOFError:
        process.join(_GRACE)
        raise ApartError(f"died with exit code {process.exitcode}") from None
    finally:
        process.terminate()
        process.join(_GRACE)
        here.close()
    if not answered:
        raise ApartError(str(value))
    result: T = value
    return result


def _run(there: Connection, memory_gb: float, work: Callable[..., Any], given: tuple[Any, ...]) -> None:
    most = int(memory_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        there.send((True, work(*given)))
    except MemoryError:
        there.send((False, f"out of memory at {memory_gb:.0f} GB"))
    except Exception as error:  # noqa: BLE001 - whatever it was is told to the one who asked
        there.send((False, f"{type(error).__name__}: {error}"))
