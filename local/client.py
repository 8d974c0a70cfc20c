"""A client of the running service, as the demo needs one: it sends, and follows jobs to their end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from time import monotonic
from typing import Any

import requests

FINAL = {"succeeded", "rejected", "failed", "canceled"}
FINAL_WITHIN = 30


class Client:
    """A signed-in user of the API."""

    def __init__(self, base_url: str, token: str = "", refresh_token: str = "") -> None:
        self._base_url = base_url
        self.refresh_token = refresh_token
        self._session = requests.Session()
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def send(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> requests.Response:
        return self._session.request(method, self._base_url + path, json=body, headers=headers, timeout=40)

    def post(self, path: str, body: bytes, content_type: str) -> requests.Response:
        return self._session.post(self._base_url + path, data=body, headers={"Content-Type": content_type}, timeout=40)

    def followed(self, path: str) -> str:
        """The last status that a stream of Server-Sent Events tells."""
        status = "nothing"
        with self._session.get(self._base_url + path, stream=True, timeout=FINAL_WITHIN) as answer:
            for line in answer.iter_lines():
                if line.startswith(b"data: "):
                    status = str(json.loads(line[6:])["status"])
        return status

    def job(self, answer: requests.Response) -> dict[str, Any]:
        """The job that a write was answered with, followed to its end."""
        job: dict[str, Any] = answer.json()
        deadline = monotonic() + FINAL_WITHIN
        while job.get("status") not in FINAL and "id" in job and monotonic() < deadline:
            job = self.send("GET", f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=5"}).json()
        return job

    def outcome(self, answer: requests.Response) -> str:
        """`202 succeeded`, `202 rejected order_too_soon`, or `422 validation_failed (total_fee)`."""
        content = answer.json()
        if answer.ok and answer.status_code != requests.codes.accepted:
            return str(answer.status_code)
        if not answer.ok:
            fields = ", ".join(sorted(error["field"] for error in content.get("errors") or []))
            return f"{answer.status_code} {content.get('code', '')}" + (f" ({fields})" if fields else "")
        job = self.job(answer)
        code = (job.get("error") or {}).get("code", "")
        return f"{answer.status_code} {job.get('status')} {code}".rstrip()
