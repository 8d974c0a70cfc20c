"""The OpenAPI document, the page that shows it, and the table of kinds: all in step with the code."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from flask import Flask
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from werkzeug.serving import make_server

from api import kinds
from api.openapi import HIDDEN
from jobs.kernel import registry
from jobs.kernel.policy import Access
from tests import ticks
from tests.http.bulks import bulk, place
from tests.http.conftest import Client

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ORDER = {"services": ["123", "456"], "total_fee": "100.00"}


@pytest.fixture
def document(nobody: Client) -> dict[str, Any]:
    answer = nobody.get("/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    found: dict[str, Any] = answer.get_json()
    return found


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def fits(document: dict[str, Any], pointer: str, value: Any) -> None:
    """Raises ValidationError where the value is not as the document says at the pointer."""
    resource = Resource(contents=document, specification=DRAFT202012)
    known: Registry[Any] = Registry().with_resource("urn:document", resource)
    OAS31Validator({"$ref": f"urn:document#{pointer}"}, registry=known).validate(value)


def test_the_document_is_valid_openapi_31(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_every_route_is_in_the_document(document: dict[str, Any], app: Flask) -> None:
    served = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint not in HIDDEN
    }
    assert set(operations(document)) == served


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", [kind.kind for kind in registry.every() if kind.route])
def test_a_kind_is_documented_by_its_declaration(kind: str, document: dict[str, Any]) -> None:
    command = registry.find(kind)
    assert command is not None
    assert command.route is not None
    operation = operations(document)[command.route.method, command.route.path]
    assert (command.__doc__ or "").startswith(operation["summary"])
    assert ("requestBody" in operation) == bool(command.model_fields)
    assert {"200", "202", "400", "408", "413", "415", "422", "429", "503"} <= set(operation["responses"])
    signed = command.policy.access is not Access.ANYONE
    assert (("401" in operation["responses"]), bool(operation.get("security"))) == (signed, signed)
    assert all("Location" in operation["responses"][status]["headers"] for status in ("200", "202"))
    assert ("404" in operation["responses"]) == command.route.has_target
    references = {parameter.get("$ref", "").rpartition("/")[2] for parameter in operation["parameters"]}
    assert {"IdempotencyKey", "Prefer", "RunAt"} <= references
    assert ("IfMatch" in references) == command.route.has_target


def test_what_any_request_can_meet_is_documented_once_for_all(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        shared = {status: operation["responses"][status]["$ref"].rpartition("/")[2] for status in ("500", "default")}
        assert shared == {"500": "Problem500", "default": "ProblemOther"}
    other = document["components"]["responses"]["ProblemOther"]
    assert "405" in other["description"]
    assert "Allow" in other["headers"]


def test_headers_that_are_always_sent_are_documented_as_such(document: dict[str, Any]) -> None:
    required = {name for name, header in document["components"]["headers"].items() if header["required"]}
    assert required == {"RequestId", "Location", "ETag", "RetryAfter", "Allow"}
    for operation in operations(document).values():
        for status, answer in operation["responses"].items():
            assert "$ref" in answer or "X-Request-ID" in answer["headers"], (operation["operationId"], status)


def test_a_kind_that_not_everybody_may_ask_for_documents_its_refusal(document: dict[str, Any], user: Client) -> None:
    refused = {key for key, operation in operations(document).items() if "403" in operation["responses"]}
    assert {("PATCH", "/v1/users/{id}"), ("POST", "/v1/users")} <= refused
    assert ("PATCH", "/v1/orders/{id}") not in refused
    assert (
        user("PATCH", "/v1/users/" + user.get("/v1/users/me").get_json()["id"], json={"role": "admin"}).status_code
        == 403
    )


def test_a_wait_that_is_refused_is_documented(document: dict[str, Any], user: Client) -> None:
    job = user.post("/v1/orders", ORDER).get_json()
    assert user.get(job["links"]["self"], headers={"Prefer": "wait=99"}).status_code == 422
    assert "422" in operations(document)["GET", "/v1/jobs/{id}"]["responses"]


def test_a_field_that_a_patch_leaves_out_has_no_default(document: dict[str, Any]) -> None:
    properties = document["components"]["schemas"]["AmendOrder"]["properties"]
    assert [name for name, schema in properties.items() if "default" in schema] == []


def test_examples_are_as_the_document_says(document: dict[str, Any]) -> None:
    seen = 0

    def walk(node: Any, pointer: str) -> None:
        nonlocal seen
        if isinstance(node, dict):
            if "schema" in node and "example" in node:
                fits(document, f"{pointer}/schema", node["example"])
                seen += 1
            for name, member in node.items():
                walk(member, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")

    walk(document, "")
    assert seen > 10


def test_answers_are_as_the_document_says(
    document: dict[str, Any],
    user: Client,
    admin: Client,
    nobody: Client,
    order_of: Any,
    call_of: Any,
    task_of: Any,
    event_of: Any,
) -> None:
    order_id = order_of("user")
    job = user.post("/v1/orders", ORDER)
    job_id = job.get_json()["id"]
    for schema, answer in {
        "Call": user.get(f"/v1/calls/{call_of('user')}"),
        "CallPage": user.get("/v1/calls"),
        "Event": user.get(f"/v1/events/{event_of('user')}"),
        "EventPage": user.get("/v1/events"),
        "Job": job,
        "JobPage": user.get("/v1/jobs"),
        "Order": user.get(f"/v1/orders/{order_id}"),
        "OrderPage": user.get("/v1/orders"),
        "ServicePage": user.get("/v1/services"),
        "Task": user.get(f"/v1/tasks/{task_of('user')}"),
        "TaskPage": user.get("/v1/tasks?page=1"),
        "TaskStats": user.get("/v1/tasks/stats"),
        "User": user.get("/v1/users/me"),
        "UserPage": admin.get("/v1/users?page=1"),
        "Circuits": user.get("/v1/circuits"),
        "Health": user.get("/healthz"),
        "Readiness": user.get("/readyz"),
        "Problem": user.post("/v1/orders", {}),
    }.items():
        fits(document, f"/components/schemas/{schema}", answer.get_json())
    fits(document, "/components/schemas/Job", user.get(f"/v1/jobs/{job_id}").get_json())
    fits(document, "/components/schemas/Problem", nobody.get("/v1/orders").get_json())
    for line in bulk(user, [place(idempotency_key="k"), place(idempotency_key="k"), b"{"]):
        fits(document, "/components/schemas/BulkOutcome", line)


def test_the_example_of_a_bulk_is_one_that_is_accepted(document: dict[str, Any], user: Client) -> None:
    content = operations(document)["POST", "/v1/bulk"]["requestBody"]["content"]
    (outcome,) = bulk(user, [content["application/x-ndjson"]["example"]])
    assert outcome["status"] == 202


def test_the_document_is_not_sent_again_to_who_has_it(nobody: Client) -> None:
    tag = nobody.get("/openapi.json").headers["ETag"]
    again = nobody.get("/openapi.json", headers={"If-None-Match": tag})
    assert (again.status_code, again.get_data()) == (304, b"")


def test_the_table_of_kinds_is_in_step() -> None:
    assert kinds.FILE.read_text() == kinds.table(), "run `python -m api.kinds`"


def test_the_table_tells_what_runs_by_itself_and_how_often() -> None:
    with ticks.declared():
        (row,) = (line for line in kinds.table().splitlines() if "`test.tick`" in line)
    assert "| every 15 s (`CALL_RECONCILE_SECONDS`) | operator |" in row


def test_the_page_runs_no_inline_script_and_asks_nobody_else(nobody: Client) -> None:
    answer = nobody.get("/docs")
    page = answer.get_data(as_text=True)
    answer.close()
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"<script>|<script(?![^>]*src=)|<style|\son\w+=|style=", page)
    for asset in re.findall(r'(?:src|href)="(/docs/[^"]+)"', page):
        part = nobody.get(asset)
        assert (asset, part.status_code) == (asset, 200)
        part.close()


@pytest.mark.parametrize("name", ["docs.html", "..%2fapp.py", "index.html", "oauth2-redirect.html", "%2e%2e/docs.py"])
def test_the_page_has_no_other_parts(name: str, nobody: Client) -> None:
    assert nobody.get(f"/docs/{name}").status_code == 404


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """The app on a loopback port."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: the page is not looked at in a browser")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_every_operation_and_has_no_complaints(width: int, address: str, tmp_path: Path) -> None:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path}", f"--window-size={width},1600", "--virtual-time-budget=10000"]
    command += ["--enable-logging=stderr", "--v=0", "--dump-dom", f"{address}/docs#/orders/orders.place"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert [line for line in shown.stderr.splitlines() if "CONSOLE" in line] == []
    for kind in filter(lambda kind: kind.route, registry.every()):
        assert f'-{kind.kind}"' in shown.stdout.replace("\\", "")
    assert "Idempotency-Key" in shown.stdout, "the operation named in the address is not opened"
