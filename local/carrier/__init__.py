"""A SIMULATOR of a carrier, for local use and tests: it imitates Twilio's Calls API over HTTP, as far as Twilio's own SDK
asks, sends signed callbacks, and misbehaves on demand. Nobody's phone rings.

`with Carrier(account_sid, auth_token, faults=Faults(drop=0.1)) as carrier:` in tests, `python -m local.carrier` by itself.

The last four digits of a number decide what becomes of a call to it (`local.carrier.faults.NUMBERS`):

| number ends in | what happens |
|---|---|
| 0101 | busy |
| 0102 | nobody answers |
| 0103 | the call fails |
| 0104 | the call is accepted, the answer lost |
| 0105 | the first two times that one call is asked for: 429, not accepted |
| 0106 | the call takes its course, and no callback tells of it |
| 0107 | the call is accepted, and answered with 500 |
| 0108 | the call is not accepted, and the connection closed without an answer |
| 0109 | refused for good: 400, code 21215 |
| 0110 | a machine answers, where the caller asked to be told |
| 0111 | the call is accepted, the answer lost, and no callback tells of it |
| any other | somebody answers, and hangs up after a while |

+15005550001 is an invalid number (code 21211), as it is at Twilio with test credentials.
"""

from __future__ import annotations

from local.carrier.book import Call, Callback, Dial, Request
from local.carrier.faults import NUMBERS, Faults
from local.carrier.simulator import Carrier

__all__ = ["NUMBERS", "Call", "Callback", "Carrier", "Dial", "Faults", "Request"]
