"""Clients of an API that answers at two addresses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from tests.acceptance.steady import Fresh, Habit
from tests.system.client import Client


class OneOfTwo(HTTPAdapter):
    """Goes to the other address where nobody listens, as whatever balances a load does: what was refused was not asked."""

    def __init__(self, base_urls: Sequence[str]) -> None:
        super().__init__()
        self._here, self._there = base_urls

    def send(self, request: requests.PreparedRequest, *given: Any, **more: Any) -> requests.Response:
        request.url = self._here + request.path_url
        try:
            return super().send(request, *given, **more)
        except requests.ConnectionError as error:
            if not isinstance(getattr(error.args[0], "reason", None), NewConnectionError):
                raise
        self._here, self._there = self._there, self._here
        request.url = self._here + request.path_url
        return super().send(request, *given, **more)


class Balanced(Client):
    """Somebody whose requests go to one of two addresses."""

    def __init__(self, base_urls: Sequence[str], *known: Any) -> None:
        super().__init__(*known)
        self._base_urls = base_urls

    def _session(self) -> requests.Session:
        session = super()._session()
        if not isinstance(session.get_adapter(self.base_url), OneOfTwo):
            self._base_urls = self._base_urls[::-1]  # half of them begin at the one, half at the other
            session.mount("http://", OneOfTwo(self._base_urls))
        return session


class FreshAndBalanced(Fresh, Balanced):
    """Somebody whose requests do so, each on a connection of its own."""


def balanced(habits: Sequence[Habit], base_urls: Sequence[str]) -> tuple[Habit, ...]:
    """The same habits, of clients who go to one of two addresses."""
    kinds = {Client: Balanced, Fresh: FreshAndBalanced}
    return tuple(habit._replace(kind=partial(kinds[habit.kind], base_urls)) for habit in habits)
