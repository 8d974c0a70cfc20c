"""What the doctor says of settings and of libraries, with no server at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.doctor_checks import Verdict, versions
from api.doctor_checks.configuration import SUBJECTS, configuration
from config import Settings
from tests.unit.test_settings import STRONG

GOOD: dict[str, Any] = {
    "environment": "production",
    **STRONG,
    "public_base_url": "https://millrace.example.com",
    "trusted_proxies": 1,
    "cors_origins": "https://app.example.com",
    "read_database_url": "postgresql://reader:kept-to-ourselves@db/millrace",
    "write_database_url": "postgresql://writer:kept-to-ourselves@db/millrace",
    "redis_url": "redis://api:kept-to-ourselves@redis:6379/0",
    "twilio_account_sid": "AC" + "0" * 32,
    "twilio_auth_token": "8f14e45fceea167a5a36dedd4bea2543",
    "twilio_from_number": "+15005550006",
    "call_countries": "US",
    "event_sink_url": "https://sink.example.com/events",
}
OWNER = "postgresql://owner:kept-to-ourselves@db/millrace"


def complaints(**changes: Any) -> dict[str, str]:
    """What is wrong, by its subject."""
    findings = list(configuration(Settings(**GOOD | changes)))
    assert [finding.name for finding in findings] == [f"configuration.{subject}" for subject in SUBJECTS]
    bad = [finding for finding in findings if finding.verdict is not Verdict.OK]
    assert all(finding.mend.endswith(".") for finding in bad)
    assert "kept-to-ourselves" not in repr(findings)
    return {finding.name.partition(".")[2]: finding.detail for finding in bad}


def test_good_settings_are_found_to_be_good() -> None:
    assert complaints() == {}


@pytest.mark.parametrize(
    ("changes", "subject", "said"),
    [
        (
            {"environment": "local", "public_base_url": "http://127.0.0.1:8000", "twilio_account_sid": ""},
            "mode",
            "local",
        ),
        ({"jwt_secret_key_previous": "Vw5tRz8Kq_Yb2NcJx-LmG7dHs4PfEa9Uo1iT3vCe"}, "secrets", "older key"),
        ({"public_base_url": "http://millrace.example.com"}, "public_url", "in private"),
        ({"trusted_proxies": 0}, "public_url", "TRUSTED_PROXIES is 0"),
        ({"cors_origins": "*"}, "origins", "every origin"),
        ({"cors_origins": "http://app.example.com"}, "origins", "http://app.example.com"),
        ({"rate_limit_login_account": ""}, "limits", "RATE_LIMIT_LOGIN_ACCOUNT"),
        ({"max_in_flight": 0}, "limits", "MAX_IN_FLIGHT"),
        ({"read_database_url": ""}, "databases", "the API reads as the owner"),
        ({"write_database_url": "", "database_url": OWNER}, "databases", "workers write as the owner"),
        ({"write_database_url": GOOD["read_database_url"]}, "databases", "cannot be both"),
        ({"redis_url": "redis://api:kept-to-ourselves@redis:6379/3"}, "redis_url", "database 3"),
        ({"redis_url": "redis://redis:6379/0"}, "redis_url", "no password"),
        ({"call_give_up_seconds": 180}, "calls", "CALL_GIVE_UP_SECONDS"),
        ({"call_countries": ""}, "calls", "every country"),
        ({"twilio_api_base_url": "http://api.example.com"}, "calls", "in the clear"),
        ({"event_sink_url": "http://sink.example.com"}, "events", "in the clear"),
        ({"log_format": "console"}, "logs", "for people"),
    ],
)
def test_what_is_weak_is_said_of_its_subject_alone(changes: dict[str, Any], subject: str, said: str) -> None:
    found = complaints(**changes)
    assert list(found) == [subject]
    assert said in found[subject]


@pytest.mark.parametrize(
    "changes",
    [
        {"write_database_url": ""},  # the API is not told of it
        {"redis_url": "redis://127.0.0.1:6379/0"},
        {"event_sink_url": "http://127.0.0.1:9000"},
        {"twilio_account_sid": "", "call_countries": ""},
    ],
)
def test_what_is_no_fault_is_not_told(changes: dict[str, Any]) -> None:
    assert complaints(**changes) == {}


def test_weak_secrets_of_local_mode_are_named() -> None:
    found = {finding.name: finding.detail for finding in configuration(Settings(environment="local"))}
    assert found["configuration.secrets"] == "weak: SECRET_KEY, JWT_SECRET_KEY"


def test_the_libraries_here_are_those_that_are_locked() -> None:
    assert [finding.verdict for finding in versions.versions()] == [Verdict.OK, Verdict.OK]


@pytest.mark.parametrize(
    ("lines", "verdict", "said"),
    [
        (["flask==0.1 \\", "    --hash=sha256:0"], Verdict.WARN, "not 0.1"),
        (["not-there-at-all==1.0 \\"], Verdict.WARN, "not-there-at-all is missing, not 1.0"),
        (["not-there-at-all==1.0 ; python_full_version < '3' \\"], Verdict.OK, "all 0"),
        ([f"missing-{number}==1" for number in range(8)], Verdict.WARN, "and 3 more"),
    ],
)
def test_libraries_that_differ_from_the_lock_are_named(
    tmp_path: Path, lines: list[str], verdict: Verdict, said: str
) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("# made by a tool\n" + "\n".join(lines))
    _, found = versions.versions(lock)
    assert found.verdict is verdict
    assert said in found.detail


def test_without_a_lock_that_is_said(tmp_path: Path) -> None:
    _, found = versions.versions(tmp_path / "requirements.txt")
    assert (found.verdict, found.detail) == (Verdict.WARN, "there is no requirements.txt here to compare with")


@pytest.mark.parametrize(("told", "verdict"), [("6.0.16", "fail"), ("6.2.0", "ok"), ("7.4-rc1", "ok"), ("8.1.0", "ok")])
def test_redis_is_to_be_6_2_at_least(told: str, verdict: str) -> None:
    assert versions.redis(told).verdict == verdict


@pytest.mark.parametrize(("number", "verdict"), [(170009, "fail"), (180000, "ok"), (190001, "ok")])
def test_postgresql_is_to_be_18_at_least(number: int, verdict: str) -> None:
    assert versions.postgresql(number).verdict == verdict
