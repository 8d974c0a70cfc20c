"""Settings: what the environment may say, and what refuses to start."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from config import LOCAL_SECRET, Settings

STRONG = {"secret_key": "s" * 48, "jwt_secret_key": "j" * 48}


def test_outside_local_mode_the_built_in_secrets_are_refused() -> None:
    with pytest.raises(ValidationError, match="SECRET_KEY, JWT_SECRET_KEY"):
        Settings(environment="production")
    assert Settings(environment="local").secret_key == LOCAL_SECRET


@pytest.mark.parametrize("name", ["secret_key", "jwt_secret_key", "jwt_secret_key_previous"])
def test_a_short_secret_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValidationError, match=name.upper()):
        Settings(environment="production", **(STRONG | {name: "short"}))


def test_settings_show_no_secret() -> None:
    shown = repr(Settings(environment="production", **STRONG, database_url="postgresql://u:pass-word@h/d"))
    assert "sss" not in shown
    assert "pass-word" not in shown


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ENVIRONMENT": "local",
        "DATABASE_URL": "postgres://u@h/d",
        "CORS_ORIGINS": "https://a.example, https://b.example",
        "ORDER_WINDOW_SCOPE": "global",
        "RATE_LIMIT_USER": "",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env()
    assert settings.database_url == "postgresql://u@h/d"
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert (settings.order_window_scope, settings.rate_limit_user) == ("global", "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORDER_WINDOW_SCOPE", "everywhere"),
        ("LEASE_SECONDS", "0"),
        ("PORT", "x"),
        ("RATE_LIMIT_USER", "10/second;600/minute"),
        ("RATE_LIMIT_USER", "often"),
    ],
)
def test_a_wrong_value_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("ENVIRONMENT", "local")
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=f"^{name}: "):
        Settings.from_env()


def test_a_refused_start_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "too-short")
    with pytest.raises(SystemExit) as refused:
        Settings.from_env()
    assert "SECRET_KEY, JWT_SECRET_KEY: needs 32 characters" in str(refused.value)
    assert "too-short" not in str(refused.value)
