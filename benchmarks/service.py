"""Latency of the whole service at 50 orders/s: gunicorn with two processes, one worker process, a client over HTTP."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import requests

from benchmarks.figures import Spread, spread
from benchmarks.latency import RATE, WARM_WITHIN, watching
from benchmarks.processes import running
from benchmarks.servers import PASSWORD, SIGNS_IN, Servers
from benchmarks.system import System
from local.processes import free_port, wait_until

API_PROCESSES = 2
API = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.py", "api.app:create_app()"]
READY_WITHIN = 30
WARM_REQUESTS = 50


@dataclass
class Client:
    """Somebody signed in, with one connection that stays open."""

    port: int
    token: str

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def place(self, number: int, **headers: str) -> tuple[int, dict[str, object]]:
        """POST /v1/orders, with an idempotency key; the status and the job."""
        body = json.dumps({"services": ["123", "456"], "total_fee": "100.00", "customer_id": f"customer-{number}"})
        given = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
        self._connection.request("POST", "/v1/orders", body, given | {"Idempotency-Key": f"bench-{number}"})
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        self._connection.close()


@contextmanager
def serving(servers: Servers) -> Iterator[Client]:
    """The API as the Procfile starts it, and a client of it."""
    port = free_port()
    environment = servers.environment(PORT=str(port), WEB_CONCURRENCY=str(API_PROCESSES))
    with running([[*API, "--bind", f"127.0.0.1:{port}"]], environment, servers.folder / "logs" / "api.log"):
        base_url = f"http://127.0.0.1:{port}"
        if not wait_until(lambda: _answers(base_url), within=READY_WITHIN, every=0.1):
            raise TimeoutError("the API did not come up; see its log")
        signing_in = {"email": SIGNS_IN, "password": PASSWORD}
        answer = requests.post(f"{base_url}/v1/auth/login", json=signing_in, timeout=10)
        answer.raise_for_status()
        with closing(Client(port, answer.json()["access_token"])) as client:
            yield client


def _answers(base_url: str) -> bool:
    try:
        return requests.get(f"{base_url}/healthz", timeout=1).ok
    except requests.RequestException:
        return False


@dataclass(frozen=True)
class ServiceLatency:
    """Milliseconds. `committed`: from accepted-at, Redis's clock in the submit, to the row being committed.
    `waited`: of a whole request with `Prefer: wait`, which is answered when its job is final."""

    committed: Spread
    waited: Spread


def service_latency(system: System, seconds: float) -> ServiceLatency:
    """Both, one after the other, each at RATE for so many seconds. Raises RuntimeError when an order is refused."""
    servers = system.servers
    servers.empty()
    with watching(servers) as watch, system.working("one"), serving(servers) as client:
        _paced(client, 0, WARM_REQUESTS / RATE, Prefer="wait=5")
        asked = [str(job["id"]) for _, _, job in _paced(client, 10_000, seconds)]
        if watch.until(asked, WARM_WITHIN) < len(asked):
            raise RuntimeError("not every accepted order became a row")
        accepted = dict(servers.rows("SELECT id::text, extract(epoch FROM created_at)::float FROM orders"))
        committed = spread([(watch.seen[job] - accepted[job]) * 1000 for job in asked])
        waited = _paced(client, 20_000, seconds, Prefer="wait=5")
        if unfinished := [job for _, status, job in waited if status != requests.codes.ok]:
            raise RuntimeError(f"{len(unfinished)} requests were not answered with a final job")
        return ServiceLatency(committed, spread([taken * 1000 for taken, _, _ in waited]))


def _paced(client: Client, first: int, seconds: float, **headers: str) -> list[tuple[float, int, dict[str, object]]]:
    """Requests at RATE: seconds each took, its status, its job."""
    answers = []
    began = time.perf_counter()
    for number in range(int(RATE * seconds)):
        time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        sent = time.perf_counter()
        status, job = client.place(first + number, **headers)
        answers.append((time.perf_counter() - sent, status, job))
    return answers
