"""Settings: what the environment may say, and what refuses to start."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from secrets import token_hex, token_urlsafe

import pytest
from pydantic import ValidationError

from config import LOCAL_SECRET, SERVERS, Settings, is_weak

STRONG = {
    "secret_key": "sZ0rXv1cQnB8-kUe5TwLdGy7_MjHfAp4iO2bRt6C",
    "jwt_secret_key": "jWq3Lx9Eo_TzVm1SgYb7uKf5NcDh-Rp8Ia2Xw4Jt",
}
ACCOUNT = {
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "8f14e45fceea167a5a36dedd4bea2543",
    "TWILIO_FROM_NUMBER": "+15005550006",
}
SECRETS = ("secret_key", "jwt_secret_key", "jwt_secret_key_previous")


def test_outside_local_mode_the_built_in_secrets_are_refused() -> None:
    with pytest.raises(ValidationError, match="SECRET_KEY, JWT_SECRET_KEY"):
        Settings(environment="production")
    assert Settings(environment="local").secret_key == LOCAL_SECRET


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "value",
    [
        "short",
        "sZ0rXv1cQnB8-kUe5TwLdGy7_MjHfAp",  # one too few
        "a" * 48,
        "changeme" * 6,
        "0123456789" * 5,
        "abc123" * 20,
        "CHANGE-ME: use secrets.token_urlsafe(48)",
        "your_secret_key_of_32_characters_goes_here",
        "django-insecure-7&x1q!z9^w@e5r#t3y$u8i*o6p",
        LOCAL_SECRET,
    ],
)
def test_a_secret_that_could_be_guessed_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=rf"\b{name.upper()}: needs 32 characters") as refused:
        Settings(environment="production", **(STRONG | {name: value}))
    assert value not in str(refused.value)
    assert getattr(Settings(environment="local", **(STRONG | {name: value})), name) == value


@pytest.mark.parametrize(
    "make",
    [partial(token_hex, 16), partial(token_urlsafe, 24), partial(token_urlsafe, 48)],
    ids=["hex", "urlsafe-24", "urlsafe-48"],
)
def test_what_chance_made_is_taken(make: Callable[[], str]) -> None:
    assert [secret for secret in (make() for _ in range(2000)) if is_weak(secret)] == []


@pytest.mark.parametrize(("one", "two"), list(combinations(SECRETS, 2)))
def test_secrets_differ_from_each_other(one: str, two: str) -> None:
    same = STRONG[one]
    with pytest.raises(ValidationError, match=f"{one.upper()} and {two.upper()} must differ") as refused:
        Settings(environment="production", **(STRONG | {two: same}))
    assert same not in str(refused.value)


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("password", ["postgres", "millrace", "change-me", "Password1", "foobared", "123456"])
def test_a_password_that_everybody_knows_opens_no_server_elsewhere(name: str, password: str) -> None:
    elsewhere = f"postgresql://millrace:{password}@db.internal:5432/millrace"
    with pytest.raises(ValidationError, match=f"{name.upper()}: its password is one that everybody knows"):
        Settings(environment="production", **STRONG, **{name: elsewhere})
    Settings(environment="local", **STRONG, **{name: elsewhere})
    for host in ("localhost", "127.0.0.1", "[::1]"):
        Settings(environment="production", **STRONG, **{name: elsewhere.replace("db.internal", host)})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://millrace@db.internal/millrace",  # .pgpass, a certificate, or trust
        "postgresql:///millrace?host=/var/run/postgresql",
        "postgresql://u:Kx9-bT4_wQ@one,two:5432/millrace?target_session_attrs=read-write",
        "redis://cache.internal:6379/0",
        "unix:///run/redis.sock?db=0",
        "rediss://:Kx9-bT4_wQ@cache.internal:6380/0",
        "postgresql://u:p[a@db.internal/millrace",
    ],
)
def test_the_ways_to_a_server_that_need_no_password_in_its_url_are_taken(url: str) -> None:
    for name in SERVERS:
        Settings(environment="production", **STRONG, **{name: url})


@pytest.mark.parametrize(
    "origins",
    [
        "https://app.example.com",
        "http://localhost:3000, https://app.example.com",
        "capacitor://localhost",
        "*",
    ],
)
def test_origins_are_a_list_or_a_star(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("ENVIRONMENT", "local")
    monkeypatch.setenv("CORS_ORIGINS", origins)
    assert ", ".join(Settings.from_env().cors_origins) == origins


@pytest.mark.parametrize("countries", ["", "US", "US, CA,DE"])
def test_countries_are_a_list_or_everywhere(monkeypatch: pytest.MonkeyPatch, countries: str) -> None:
    monkeypatch.setenv("ENVIRONMENT", "local")
    monkeypatch.setenv("CALL_COUNTRIES", countries)
    assert ",".join(Settings.from_env().call_countries) == countries.replace(" ", "")


@pytest.mark.parametrize(
    "missing", ["TWILIO_AUTH_TOKEN", "TWILIO_FROM_NUMBER", "TWILIO_AUTH_TOKEN and TWILIO_FROM_NUMBER"]
)
def test_an_account_that_calls_are_placed_with_is_given_whole(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setenv("ENVIRONMENT", "local")
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, "" if name in missing else value)
    with pytest.raises(SystemExit) as refused:
        Settings.from_env()
    assert str(refused.value) == f"settings: TWILIO_ACCOUNT_SID needs {missing} as well"


def test_no_account_or_a_whole_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "local")
    assert Settings.from_env().twilio_account_sid == ""
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env()
    assert settings.twilio_from_number == ACCOUNT["TWILIO_FROM_NUMBER"]
    assert ACCOUNT["TWILIO_AUTH_TOKEN"] not in repr(settings)


@pytest.mark.parametrize("name", ["rate_limit_calls_user", "rate_limit_calls_destination"])
@pytest.mark.parametrize("notation", ["20/hour", "3 per day", "1 per 10 minutes", " ", ""])
def test_a_limit_of_calls_is_one_limit_or_none(name: str, notation: str) -> None:
    assert getattr(Settings(environment="local", **{name: notation}), name) == notation.strip()


@pytest.mark.parametrize("url", ["http://127.0.0.1:4010", "https://proxy.example.com/twilio/"])
def test_the_carriers_address_ends_in_no_slash(url: str) -> None:
    assert Settings(environment="local", twilio_api_base_url=url).twilio_api_base_url == url.rstrip("/")


@pytest.mark.parametrize("url", ["https://millrace.example.com", "http://10.0.0.1:8080/behind/a/proxy/"])
def test_the_public_address_ends_in_no_slash(url: str) -> None:
    assert Settings(environment="local", public_base_url=url).public_base_url == url.rstrip("/")


def test_settings_show_no_secret() -> None:
    shown = repr(Settings(environment="production", **STRONG, database_url="postgresql://u:Kx9-bT4_wQ@h/d"))
    assert STRONG["secret_key"] not in shown
    assert "Kx9-bT4_wQ" not in shown


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
        ("RECEIPT_RETENTION_DAYS", "0"),
        ("EVENT_RETENTION_DAYS", "36501"),
        ("ORDER_WINDOW_SCOPE", "everywhere"),
        ("LEASE_SECONDS", "0"),
        ("PORT", "x"),
        ("RATE_LIMIT_USER", "10/second;600/minute"),
        ("RATE_LIMIT_USER", "often"),
        ("CORS_ORIGINS", "*, https://app.example.com"),
        ("CORS_ORIGINS", "app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com/"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "https://App.example.com"),
        ("CORS_ORIGINS", "https://user@app.example.com"),
        ("CORS_ORIGINS", "https://app.example.com:port"),
        ("CORS_ORIGINS", "null"),
        ("PUBLIC_BASE_URL", ""),
        ("PUBLIC_BASE_URL", "millrace.example.com"),
        ("PUBLIC_BASE_URL", "ftp://millrace.example.com"),
        ("PUBLIC_BASE_URL", "https://"),
        ("PUBLIC_BASE_URL", "https://user:word@millrace.example.com"),
        ("PUBLIC_BASE_URL", "https://millrace.example.com?a=b"),
        ("PUBLIC_BASE_URL", "https://millrace.example.com:99999"),
        ("PUBLIC_BASE_URL", "https://[::1"),
        ("TWILIO_API_BASE_URL", ""),
        ("TWILIO_API_BASE_URL", "api.twilio.com"),
        ("TWILIO_API_BASE_URL", "https://sid:token@api.twilio.com"),
        ("TWILIO_TIMEOUT_SECONDS", "0"),
        ("TWILIO_TIMEOUT_SECONDS", "21"),
        ("CALLS_PER_SECOND", "0"),
        ("CALL_COUNTRIES", "us"),
        ("CALL_COUNTRIES", "US;CA"),
        ("CALL_COUNTRIES", "US,Canada"),
        ("CALL_RECONCILE_SECONDS", "0"),
        ("RATE_LIMIT_CALLS_USER", "20/hour;100/day"),
        ("RATE_LIMIT_CALLS_USER", "20"),
        ("RATE_LIMIT_CALLS_DESTINATION", "3/hour, 5/day"),
        ("RATE_LIMIT_CALLS_DESTINATION", "seldom"),
    ],
)
def test_a_wrong_value_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("ENVIRONMENT", "local")
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=f"^{name}: "):
        Settings.from_env()


@pytest.mark.parametrize(
    "url",
    [
        "canary",
        "ftp://sink.example.com/canary",
        "https://user:canary@sink.example.com/",
        "https://canary@sink.example.com/",
        "https://sink.example.com/events#canary",
        "https://sink.example.com/canary#",
        "https://sink.example.com:canary/",
        "https://sink.example.com:99999/canary",
        "https://[canary/",
        "https://sink.example.com/canary events",
        "https://sink.example.com/\ncanary",
        "https://sink.example.com/canéry",
        "https:///canary",
    ],
)
def test_a_way_to_the_sink_that_is_none_is_refused_and_not_told(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ENVIRONMENT", "local")
    monkeypatch.setenv("EVENT_SINK_URL", url)
    with pytest.raises(SystemExit, match=r"^EVENT_SINK_URL: should be a URL like") as refused:
        Settings.from_env()
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "http://127.0.0.1:9/x", "https://sink.example.com/in/1?key=a%20b&c", "https://[::1]"]
)
def test_the_way_to_the_sink_may_have_a_path_and_a_query(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ENVIRONMENT", "local")
    monkeypatch.setenv("EVENT_SINK_URL", url)
    assert Settings.from_env().event_sink_url == url
    assert not url or url not in repr(Settings.from_env())


def test_a_refused_start_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "too-short")
    with pytest.raises(SystemExit) as refused:
        Settings.from_env()
    assert "SECRET_KEY, JWT_SECRET_KEY: needs 32 characters" in str(refused.value)
    assert "too-short" not in str(refused.value)
