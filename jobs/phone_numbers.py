"""Telephone numbers: which can be called, and where they are."""

from __future__ import annotations

from typing import Annotated

import phonenumbers
from phonenumbers import PhoneNumberType
from pydantic import AfterValidator, Field, StringConstraints

from jobs.kernel.private import PRIVATE

COSTLY = (PhoneNumberType.PREMIUM_RATE, PhoneNumberType.SHARED_COST)
NOWHERE = "001"
"""Where phonenumbers says that a number of no country is: satellites, and networks of their own, at prices of their own."""


def _callable(number: str) -> str:
    """A number that could be somebody's, in its one spelling. Those that cost extra are nobody's to call: whoever owns one is
    paid for each call."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        parsed = None
    if parsed is None or not phonenumbers.is_possible_number(parsed):
        raise ValueError("should be a telephone number in E.164, like +14155550123")
    if phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) != number:
        raise ValueError("should be spelled as E.164 has it, without a prefix for calls within its country")
    if phonenumbers.number_type(parsed) in COSTLY or countries(number) == {NOWHERE}:
        raise ValueError("should not be a number that costs extra")
    return number


PhoneNumber = Annotated[
    str,
    StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$"),
    AfterValidator(_callable),
    Field(description="E.164", examples=["+14155550123"]),
    PRIVATE,
]


def countries(number: str) -> set[str]:
    """Where a number may be: its country, where that can be told, else all that share its code."""
    parsed = phonenumbers.parse(number)
    region = phonenumbers.region_code_for_number(parsed)
    return {region} if region else set(phonenumbers.region_codes_for_country_code(parsed.country_code or 0))
