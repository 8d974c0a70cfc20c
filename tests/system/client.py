"""A client of the running service: over HTTP, by as many threads as a test likes, and careful with its keys."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Any
from uuid import UUID

import requests

FINAL = frozenset({"succeeded", "rejected", "failed", "canceled"})
Job = dict[str, Any]
STALL = 5.0
"""Seconds that a slow disk is given."""


class Client:
    """Somebody who may be signed in. `owner`: their user id. Every thread has connections of its own.

    `credentials`: what to sign in with, now and whenever the session has ended, as after a loss of Redis's data.
    """

    def __init__(self, base_url: str, credentials: dict[str, str] | None = None, owner: UUID | None = None) -> None:
        self.base_url = base_url
        self.owner = owner
        self._credentials = credentials
        self.token = ""
        self._signing_in = threading.Lock()
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def __call__(self, method: str, path: str, **more: Any) -> requests.Response:
        """One request; `more`: what requests takes."""
        while True:
            token = self.token or self._sign_in("")
            own = {"Authorization": f"Bearer {token}"} if token else {}
            given = {"timeout": 30} | more | {"headers": own | more.get("headers", {})}
            answer = self._session().request(method, self.base_url + path, **given)
            if not token or answer.status_code != 401 or answer.json()["code"] != "session_ended":
                return answer
            self._sign_in(token)

    def _sign_in(self, ended: str) -> str:
        """A token that is not the one that has ended: one thread fetches it for all."""
        with self._signing_in:
            if self._credentials and self.token == ended:
                login = f"{self.base_url}/v1/auth/login"
                answer = self._session().request("POST", login, json=self._credentials, timeout=30)
                if answer.status_code == 503:
                    raise requests.ConnectionError(answer.text)
                assert answer.status_code == 200, answer.text
                self.token = answer.json()["access_token"]
            return self.token

    def get(self, path: str, **more: Any) -> requests.Response:
        """A read; once more where the server has closed, just now, a connection that was idle."""
        try:
            return self("GET", path, **more)
        except requests.ConnectionError:
            return self("GET", path, **more)

    def post(self, body: dict[str, Any], path: str = "/v1/orders", **more: Any) -> requests.Response:
        return self("POST", path, json=body, **more)

    def job(self, job_id: str) -> Job:
        """A job as it now is. Where the queue does not answer in time, it is asked again: a disk may stall for a while."""
        deadline = time.monotonic() + STALL
        while (answer := self.get(f"/v1/jobs/{job_id}")).status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def placed(self, customer: str, query: str = "", **more: Any) -> Job:
        """The job of an order that was acknowledged at once. `more`: members of the order."""
        answer = self.post(order(customer, **more), f"/v1/orders{query}")
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def persist(self, customer: str, *, query: str = "", seen: list[requests.Response] | None = None) -> str:
        """Place an order as a careful client does: with one key, again and again until it is acknowledged; its id.

        `seen`: takes the answers that were no acknowledgement.
        """
        key, deadline = secrets.token_hex(12), time.monotonic() + 60
        while True:
            try:
                answer = self.post(order(customer), f"/v1/orders{query}", headers={"Idempotency-Key": key}, timeout=10)
                if answer.status_code == 202:
                    return str(answer.json()["id"])
                assert answer.status_code == 503, answer.text
                if seen is not None:
                    seen.append(answer)
            except (requests.ConnectionError, requests.Timeout):
                pass
            assert time.monotonic() < deadline, "not acknowledged in a minute"
            time.sleep(0.1)

    def until_final(self, job_id: str, seconds: float = 30) -> Job:
        """The job, as soon as it is final. Raises AssertionError when that takes longer."""
        deadline = time.monotonic() + seconds
        while (job := self.job(job_id))["status"] not in FINAL:
            assert time.monotonic() < deadline, f"still {job['status']}"
            time.sleep(0.05)
        return job

    def listed(self, limit: int = 100, most: int = 100_000) -> list[Job]:
        """The newest `most` jobs, page by page by cursor."""
        found: list[Job] = []
        query = f"limit={limit}"
        while len(found) < most:
            answer = self.get(f"/v1/jobs?{query}")
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["data"]
            if page["meta"]["next_cursor"] is None:
                break
            query = f"limit={limit}&cursor={page['meta']['next_cursor']}"
        return found

    def close(self) -> None:
        for session in self._sessions:
            session.close()

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            session = self._local.session = requests.Session()
            session.trust_env = False
            self._sessions.append(session)
        return self._local.session  # type: ignore[no-any-return]


def order(customer: str, **more: Any) -> dict[str, Any]:
    """An order that is valid."""
    return {"services": ["123", "456"], "total_fee": "100.00", "customer_id": customer} | more
