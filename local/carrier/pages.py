"""Calls as Twilio's API shows them: one, or a page of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import dropwhile, islice
from urllib.parse import urlencode

from local.carrier.book import Call

PAGE = 50
LARGEST_PAGE = 1000
Compare = Callable[[datetime, datetime], bool]
COMPARISONS: dict[str, Compare] = {
    "StartTime": lambda found, asked: found.date() == asked.date(),
    "StartTime<": lambda found, asked: found <= asked,
    "StartTime>": lambda found, asked: found >= asked,
}
"""Filters by time. The last two include the time that is asked for: in a URL an equals sign follows them."""


def shown(call: Call, account_sid: str) -> dict[str, object]:
    """One call. While it is `initiated`, the API says `queued`: only callbacks tell the two apart."""
    order = call.order
    return {
        "account_sid": account_sid,
        "answered_by": call.answered_by,
        "api_version": "2010-04-01",
        "date_created": _time(call.created_at),
        "date_updated": _time(call.ended_at or call.answered_at or call.started_at or call.created_at),
        "direction": "outbound-api",
        "duration": None if call.duration is None else str(call.duration),
        "end_time": _time(call.ended_at),
        "from": order.sender,
        "from_formatted": order.sender,
        "price": None,
        "price_unit": "USD",
        "queue_time": "0",
        "sid": call.sid,
        "start_time": _time(call.started_at),
        "status": _status(call),
        "subresource_uris": {},
        "to": order.to,
        "to_formatted": order.to,
        "uri": f"{_base(account_sid)}/{call.sid}.json",
    }


def listed(calls: list[Call], account_sid: str, query: dict[str, str]) -> dict[str, object]:
    """A page of the calls that the query's filters let through, in the order in which they are given.

    The next page begins after the last call of this one, whatever has come meanwhile. Raises ValueError for no time.
    """
    size = min(_number(query, "PageSize", PAGE) or PAGE, LARGEST_PAGE)
    number = _number(query, "Page", 0)
    times = [(compare, _moment(query[name])) for name, compare in COMPARISONS.items() if name in query]
    found = (call for call in calls if _passes(call, query, times))
    if token := query.get("PageToken", ""):
        rest = list(islice(dropwhile(lambda call: token != _token(call), found), 1, size + 2))
    else:
        rest = list(islice(found, number * size, (number + 1) * size + 1))
    page, more = rest[:size], len(rest) > size
    filters = {name: value for name, value in query.items() if name not in ("Page", "PageToken", "PageSize")}
    path = f"{_base(account_sid)}.json"

    def uri(page_number: int, **token: str) -> str:
        return f"{path}?{urlencode(filters | {'PageSize': size, 'Page': page_number} | token)}"

    return {
        "calls": [shown(call, account_sid) for call in page],
        "start": number * size,
        "end": number * size + max(len(page) - 1, 0),
        "page": number,
        "page_size": size,
        "uri": uri(number),
        "first_page_uri": uri(0),
        "previous_page_uri": None,
        "next_page_uri": uri(number + 1, PageToken=_token(page[-1])) if more else None,
    }


def _passes(call: Call, query: dict[str, str], times: list[tuple[Compare, datetime]]) -> bool:
    """Times are compared to the second, as they are shown; a call that has not started, by when it was created."""
    exact = {"To": call.order.to, "From": call.order.sender, "Status": _status(call)}
    began = (call.started_at or call.created_at).replace(microsecond=0)
    return all(query.get(name, value) == value for name, value in exact.items()) and all(
        compare(began, asked) for compare, asked in times
    )


def _moment(text: str) -> datetime:
    """Midnight, where it is a date only."""
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _number(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isdecimal() else default


def _status(call: Call) -> str:
    return "queued" if call.status == "initiated" else call.status


def _token(call: Call) -> str:
    return f"PA{call.sid}"


def _time(moment: datetime | None) -> str | None:
    return format_datetime(moment) if moment else None


def _base(account_sid: str) -> str:
    return f"/2010-04-01/Accounts/{account_sid}/Calls"
