"""The process that delivers events: it does with no other queue, and without what no event needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from rq import Queue, Worker

from tests import events
from tests.events import recorded, row
from tests.processes import ROOT, environment, python, running, until
from tests.road import Road
from tests.sinks import SinkServer

LOADED = """
import sys
from config import Settings
from workers.outside import services
import workers.threads
found = services(Settings.from_env(), sys.argv[1].split(","))
print(found.carrier is not None, "twilio" in sys.modules)
"""


@pytest.mark.parametrize(("queues", "calls"), [("deliveries", False), ("calls", True), ("hangups,deliveries", True)])
def test_the_carriers_sdk_is_loaded_where_it_is_needed_alone(road: Road, queues: str, calls: bool) -> None:
    done = subprocess.run(
        python("-c", LOADED, queues), env=environment(road.of_worker), cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(calls)] * 2, done.stderr


def test_a_process_of_this_queue_alone_delivers(road: Road, tmp_path: Path) -> None:
    command = python("-m", "workers", "--queues", "deliveries", "--threads", "8")
    with SinkServer() as server:
        sunk, gates = events.connected(road, server)
        with running(command, sunk.of_worker, tmp_path / "workers.log"):
            until(lambda: Worker.count(queue=Queue("deliveries", connection=road.redis)) == 1)
            ids = recorded(sunk, 20)
            until(lambda: all(row(sunk, event).delivery == "delivered" for event in ids))
        assert server.taken == dict.fromkeys(map(str, ids), 1)
        gates.close()
        sunk.close()
    assert server.url not in (tmp_path / "workers.log").read_text()
