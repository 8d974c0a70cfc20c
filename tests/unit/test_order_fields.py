"""What a client may write in an order: money, times, customers, services."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from jobs.orders import AmendOrder, PlaceOrder

ORDER: dict[str, Any] = {"services": ["123"], "total_fee": "100.00"}


def place(**fields: Any) -> PlaceOrder:
    return PlaceOrder.model_validate_json(orjson.dumps(ORDER | fields))


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("100.00", "100.00"),
        ("0", "0"),
        ("7.5", "7.5"),
        (7.5, "7.5"),
        (100, "100"),
        (0.1, "0.1"),
        (-0.0, "0"),
        ("9999999999.99", "9999999999.99"),
        (9999999999.99, "9999999999.99"),
    ],
)
def test_money_is_a_decimal_string_or_a_number(written: Any, means: str) -> None:
    assert str(place(total_fee=written).total_fee) == means


@pytest.mark.parametrize(
    "written",
    [
        "-1",
        "-0",
        "1_000",
        " 5",
        "5 ",
        "+5",
        "\u0663",
        ".5",
        "5.",
        "1e2",
        "100.000",
        "",
        "NaN",
        "Infinity",
        "10000000000",
        0.005,
        -1,
        1e22,
        True,
        None,
        [],
        {},
    ],
)
def test_what_is_no_amount_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match="total_fee"):
        place(total_fee=written)


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("2027-01-31T09:30:00Z", "2027-01-31T09:30:00+00:00"),
        ("2027-01-31t09:30:00.25+02:00", "2027-01-31T07:30:00.250000+00:00"),
    ],
)
def test_times_are_kept_in_utc(written: str, means: str) -> None:
    scheduled = place(scheduled_for=written).scheduled_for
    assert scheduled is not None
    assert scheduled.isoformat() == means


@pytest.mark.parametrize(
    "written",
    [
        "2026-12-01",
        "2026-12-01T00:00:00",
        "1700000000",
        1700000000,
        "2026-12-01 00:00Z",
        "2026-12-01T00:00Z",
        "2026-12-01T00:00:00\u22121:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-13-01T00:00:00Z",
        "2026-12-01T25:00:00Z",
        "",
    ],
)
def test_what_is_no_rfc_3339_time_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match="scheduled_for"):
        place(scheduled_for=written)


@pytest.mark.parametrize("fields", [{}, {"if_too_soon": "wait"}])
def test_an_amendment_has_to_change_something(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="nothing to change"):
        AmendOrder.model_validate_json(orjson.dumps(fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"services": []},
        {"services": ["1"] * 2},
        {"services": ["a b"]},
        {"services": "123"},
        {"services": [str(n) for n in range(51)]},
        {"customer_id": ""},
        {"customer_id": "x" * 65},
        {"customer_id": 5},
        {"customer_id": "a\nb"},
        {"if_too_soon": "maybe"},
        {"other": 1},
    ],
)
def test_other_fields_are_held_to_their_form(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        place(**fields)
