"""Every row, in the order in which they run."""

from tests.storm.rows import (
    broker_outage,
    call_fail_points,
    carrier_storm,
    circuit,
    database_outage,
    event_sink,
    fail_points,
    full_broker,
    kill_storm,
    overload,
    pause,
    poison,
    recovery,
    restarts,
    soak,
    timing_rule,
)

ROWS = tuple(
    module.ROW
    for module in (
        kill_storm,
        fail_points,
        recovery,
        restarts,
        broker_outage,
        database_outage,
        poison,
        timing_rule,
        overload,
        pause,
        full_broker,
        carrier_storm,
        call_fail_points,
        circuit,
        event_sink,
    )
)

ON_REQUEST = (soak.ROW,)
"""Those that run only when they are named."""
