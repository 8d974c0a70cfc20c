"""Every declared kind, by its name. Filled as domain files are imported (`jobs.load`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.kernel.errors import DeclarationError

if TYPE_CHECKING:
    from jobs.kernel.command import Command

_by_name: dict[str, type[Command]] = {}


def add(command: type[Command]) -> None:
    """Enter a kind and its aliases. Raises DeclarationError when a name or a route is taken."""
    for name in (command.kind, *command.aliases):
        if taken := _by_name.get(name):
            raise DeclarationError(f"{command.__qualname__}: kind {name!r} is already {taken.__qualname__}")
    for other in every():
        if command.route is not None and other.route == command.route:
            raise DeclarationError(f"{command.__qualname__}: its route is already {other.__qualname__}'s")
    _by_name.update(dict.fromkeys((command.kind, *command.aliases), command))


def find(name: str) -> type[Command] | None:
    """The command class of a kind or of one of its aliases."""
    return _by_name.get(name)


def every() -> Iterator[type[Command]]:
    """Each declared command class once, in order of declaration."""
    return iter(dict.fromkeys(_by_name.values()))


def remove(command: type[Command]) -> None:
    """Forget a kind: for tests that declare one of their own."""
    for name in (command.kind, *command.aliases):
        _by_name.pop(name, None)
