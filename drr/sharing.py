"""What threads and children of forks share: properties without a lock, locks that a fork minds.

A fork copies memory but only one thread. A lock that another thread had is then taken for ever in
the child, which hangs as soon as it wants it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar, overload

__all__ = ["hold_at_fork", "in_child_of_fork", "kept_property"]

Value = TypeVar("Value")


class kept_property(Generic[Value]):  # noqa: N801 - it stands where `property` stands
    """A property that is worked out once and kept in the object's `__dict__`.

    What `functools.cached_property` became with Python 3.12: before, that holds one lock for all
    objects while it works, for which threads wait in vain and children of a fork for ever. Here
    threads that come at once may all work it out, and all get the same one of their results.
    """

    def __init__(self, function: Callable[[Any], Value]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> kept_property[Value]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> kept_property[Value] | Value:
        # Reached until it is kept: what is in `__dict__` comes before a descriptor that only gets.
        if instance is None:
            return self
        kept: Value = vars(instance).setdefault(self.name, self.function(instance))
        return kept


class Lock(Protocol):
    """Any lock of `threading`."""

    def acquire(self) -> bool: ...

    def release(self) -> None: ...


def hold_at_fork(lock: Lock) -> None:
    """Let no fork happen while another thread has this lock, which has to live for ever.

    For locks of what is of no use to the child half done. The thread that forks may have it only
    if it is reentrant.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )


def in_child_of_fork(function: Callable[[], object]) -> None:
    """Call something in every child of a fork, before anything else is done there."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
