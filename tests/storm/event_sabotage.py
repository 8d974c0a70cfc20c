"""Sabotage of deliveries; see `tests.storm.sabotage`."""

from __future__ import annotations

from typing import Any

from tests.storm.sabotage import sabotage, take_away


@sabotage
def no_key() -> None:
    """An event is sent without the id that the sink would know it by."""
    from workers.sink import HttpSink

    answer = HttpSink._answer

    def nameless(self: Any, headers: dict[str, str], body: bytes) -> int:
        return answer(self, {name: value for name, value in headers.items() if name != "Idempotency-Key"}, body)

    take_away(HttpSink, "_answer", nameless)
