"""Settings: every value the environment may give, read once by an entry point and passed on from there."""

from __future__ import annotations

import re
import zlib
from itertools import combinations
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from limits import parse_many
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

LOCAL_SECRET = "local-mode-only-secret-never-used-elsewhere"  # noqa: S105 - refused outside local mode
SECRET_MIN_LENGTH = 32  # RFC 7518 §3.2: an HS256 key has at least 256 bits
SERVERS = ("database_url", "read_database_url", "write_database_url", "redis_url")
"""Settings that are URLs of servers, each with a password in it, or none."""

LONGEST_DAYS = 36_500
"""A hundred years: from much longer ago than that no date can be reckoned."""

PLACEHOLDERS = (
    *("changeme", "changethis", "replaceme", "replacethis", "placeholder", "example", "insecure", "notsecret"),
    *(
        "yoursecret",
        "mysecret",
        "supersecret",
        "topsecret",
        "secretkey",
        "password",
        "keyboardcat",
        "qwerty",
        "letmein",
    ),
    *("12345678", "01234567", "abcdefgh"),
)
"""What stands in secrets that were written down to be replaced, less all that is no letter or digit."""

WELL_KNOWN = frozenset(
    {"postgres", "redis", "millrace", "root", "admin", "guest", "test", "secret", "foobared", "123456"}
)
"""Passwords that servers, their images and their manuals come with; foobared is redis.conf's."""

COUNTRY = re.compile(r"[A-Z]{2}")

PLAIN = re.compile(r"[!-~]+")
"""What a URL is written in (RFC 3986 §2); urlsplit leaves out, in silence, some of what is not."""

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?")
"""As a browser sends it (RFC 6454 §6.1), in lower case. Nothing in it can be taken for a pattern, as Flask-CORS does."""


class Settings(BaseSettings):
    """One frozen set of settings (CONTRACT.md §10).

    Every field is an environment variable of the same name in capitals; `.env.example` lists them.
    Raises pydantic's ValidationError, naming each variable that is wrong.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    environment: Literal["local", "production"] = Field(
        "production", description="`local` allows the built-in secrets; anything else refuses them"
    )
    database_url: str = Field(
        "postgresql://millrace@127.0.0.1:5432/millrace",
        description="the owner's, for migrations; and what the next two are where they are empty",
        repr=False,
    )
    read_database_url: str = Field(
        "", description="what the API reads with; empty: DATABASE_URL, in read-only sessions", repr=False
    )
    write_database_url: str = Field("", description="what workers write with; empty: DATABASE_URL", repr=False)
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="broker, counters and leases; appendfsync always", repr=False
    )
    port: int = Field(8000, ge=1, le=65535, description="where the web process listens")
    public_base_url: str = Field("http://127.0.0.1:8000", description="how the outside reaches this service")
    secret_key: str = Field(
        LOCAL_SECRET, description="derives ids from idempotency keys, cursors and counter names", repr=False
    )
    jwt_secret_key: str = Field(LOCAL_SECRET, description="signs access and refresh tokens", repr=False)
    jwt_secret_key_previous: str = Field("", description="still verifies tokens signed before a roll-over", repr=False)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field((), description="allowed origins, comma-separated")
    trusted_proxies: int = Field(0, ge=0, le=10, description="how many proxies in front may set X-Forwarded-For")

    order_window_seconds: int = Field(10_800, ge=0, description="the order timing rule's window (CONTRACT.md §4)")
    order_window_scope: Literal["customer", "global", "off"] = Field("customer", description="what the rule looks at")

    twilio_account_sid: str = Field("", description="whose calls are placed; empty: no calls are")
    twilio_auth_token: str = Field(
        "", description="signs in at the provider, and verifies its callbacks; empty: none is believed", repr=False
    )
    twilio_from_number: str = Field("", description="what calls come from, in E.164, like +15005550006")
    twilio_api_base_url: str = Field("https://api.twilio.com", description="the provider, a simulator of it or a proxy")
    twilio_timeout_seconds: float = Field(10, gt=0, le=20, description="how long the provider's answer is waited for")
    calls_per_second: float = Field(1, gt=0, le=1000, description="asked of the provider by all workers together")
    call_countries: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="where to calls may go, like US,CA; empty: everywhere"
    )
    call_machine_detection: bool = Field(False, description="whether the provider tells answering machines from people")
    call_reconcile_seconds: int = Field(
        15, ge=1, le=3600, description="between two looks at the provider for calls whose answer or callbacks were lost"
    )
    call_settle_seconds: int = Field(
        180, ge=1, description="how far apart two looks have to be that find nothing, for a call to be not placed"
    )
    call_silent_seconds: int = Field(120, ge=1, description="without a callback for so long, the provider is asked")
    call_give_up_seconds: int = Field(
        3600, ge=1, description="a call whose outcome nobody knows by then is left for people to look at"
    )
    circuit_failures: int = Field(3, ge=1, description="of a service, within the next, that open its circuit")
    circuit_window_seconds: int = Field(30, ge=1, description="how long a failure counts")
    circuit_open_seconds: int = Field(10, ge=1, description="until an open circuit lets the first probe through")

    event_sink_url: str = Field("", description="where events are delivered to as well; empty: nowhere", repr=False)
    event_sink_timeout_seconds: float = Field(5, gt=0, le=20, description="how long the sink's answer is waited for")
    event_sink_open_seconds: float = Field(
        1, ge=0.1, le=3600, description="until the sink's open circuit lets the next probe through"
    )
    event_sweep_seconds: int = Field(
        60, ge=1, le=3600, description="between two looks for events whose delivery was lost on its way to the queue"
    )
    overdue_every_seconds: int = Field(300, ge=1, description="between two looks for tasks that are overdue")

    cache_ttl_seconds: int = Field(60, ge=0, le=3600, description="how long reads stay cached; 0: they are not")
    read_replica_lag_seconds: int = Field(
        0, ge=0, le=600, description="how late READ_DATABASE_URL may be; 0: it is the server that workers write to"
    )
    lease_seconds: int = Field(6, ge=2, le=600, description="a worker's claim on a job, renewed while it works")
    batch_size: int = Field(
        500, ge=1, le=1000, description="the most commands in one transaction; a worker finds its own pace below it"
    )
    max_queue_depth: int = Field(1_000_000, ge=1, description="above it a queue takes no more writes (503)")
    max_memory_percent: int = Field(80, ge=1, le=99, description="of Redis's maxmemory; above it no more writes (503)")
    receipt_retention_days: int = Field(
        90, ge=1, le=LONGEST_DAYS, description="how long outcomes stay in PostgreSQL, and notices that were sent"
    )
    event_retention_days: int = Field(
        365, ge=0, le=LONGEST_DAYS, description="how long events stay in PostgreSQL; 0: for ever"
    )
    prune_every_seconds: int = Field(3600, ge=1, description="between two looks for what is not kept any longer")
    final_ttl_seconds: int = Field(900, ge=1, description="how long a final job's hash stays in Redis")

    rate_limit_user: str = Field("600/minute", description="requests of one user; empty: no limit")
    rate_limit_register: str = Field("5/hour", description="registrations from one address")
    rate_limit_login_address: str = Field("10/minute", description="logins from one address")
    rate_limit_login_account: str = Field("5/minute", description="logins to one account")
    rate_limit_calls_user: str = Field("20/hour", description="calls of one user")
    rate_limit_calls_destination: str = Field("3/hour", description="calls to one number, whoever asks for them")

    max_in_flight: int = Field(
        32, ge=0, description="writes, and reads, that one web process serves at once; more are refused (503); 0: none"
    )

    log_format: Literal["json", "console"] = Field("json", description="one JSON object a line, or text for people")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="the least that is logged")

    @classmethod
    def from_env(cls) -> Self:
        """The settings of this process's environment. Call it in entry points only.

        Raises SystemExit, whose message names each variable that is wrong, and why.
        """
        try:
            return cls()
        except ValidationError as wrong:
            said = [
                (".".join(map(str, error["loc"])).upper(), error["msg"].removeprefix("Value error, "))
                for error in wrong.errors()
            ]
            raise SystemExit("\n".join(f"{name or 'settings'}: {reason}" for name, reason in said)) from None

    @field_validator("database_url", "read_database_url", "write_database_url")
    @classmethod
    def _one_spelling_of_postgresql(cls, url: str) -> str:
        """Hosts still hand out `postgres://`, which SQLAlchemy no longer reads."""
        return url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url

    @field_validator("public_base_url", "twilio_api_base_url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        """Without a slash at the end, since paths that begin with one are put after it."""
        if not is_http(url) or "?" in url:
            raise ValueError("should be a URL like https://millrace.example.com")
        return url.rstrip("/")

    @field_validator("event_sink_url")
    @classmethod
    def _http_url_or_none(cls, url: str) -> str:
        if url and not is_http(url):
            raise ValueError("should be a URL like https://sink.example.com/events, without a user or a fragment")
        return url

    @field_validator("cors_origins")
    @classmethod
    def _origins_or_a_star(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        """A star is for answers that need no credentials, and is sent without (CONTRACT.md §1): so it stands alone."""
        wrong = [origin for origin in origins if not ORIGIN.fullmatch(origin)]
        if wrong and origins != ("*",):
            raise ValueError(
                f"{', '.join(wrong)}: should be origins as browsers send them, like https://app.example.com: "
                "in lower case, with no path and no slash at the end; or * alone"
            )
        return origins

    @field_validator("call_countries")
    @classmethod
    def _countries(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [code for code in codes if not COUNTRY.fullmatch(code)]:
            raise ValueError(f"{', '.join(wrong)}: should be ISO 3166 codes of countries, like US,CA")
        return codes

    @field_validator("cors_origins", "call_countries", mode="before")
    @classmethod
    def _split_on_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator(
        "rate_limit_user",
        "rate_limit_register",
        "rate_limit_login_address",
        "rate_limit_login_account",
        "rate_limit_calls_user",
        "rate_limit_calls_destination",
    )
    @classmethod
    def _one_limit(cls, notation: str) -> str:
        """A write is counted in one window, in the round trip that submits it: so each setting is one limit."""
        if notation.strip() and len(parse_many(notation)) != 1:
            raise ValueError("should be one limit, like 600/minute; or empty, for none")
        return notation.strip()

    @model_validator(mode="after")
    def _all_of_an_account(self) -> Self:
        named = {"TWILIO_AUTH_TOKEN": self.twilio_auth_token, "TWILIO_FROM_NUMBER": self.twilio_from_number}
        if self.twilio_account_sid and not all(named.values()):
            missing = " and ".join(name for name, value in named.items() if not value)
            raise ValueError(f"TWILIO_ACCOUNT_SID needs {missing} as well")
        return self

    @model_validator(mode="after")
    def _refuse_weak_secrets(self) -> Self:
        if self.environment == "local":
            return self
        named = {
            "SECRET_KEY": self.secret_key,
            "JWT_SECRET_KEY": self.jwt_secret_key,
            "JWT_SECRET_KEY_PREVIOUS": self.jwt_secret_key_previous,
        }
        given = {name: secret for name, secret in named.items() if secret or name != "JWT_SECRET_KEY_PREVIOUS"}
        wrong = []
        if weak := [name for name, secret in given.items() if is_weak(secret)]:
            wrong.append(
                f"{', '.join(weak)}: needs {SECRET_MIN_LENGTH} characters or more of its own outside local mode, "
                "made by chance (python -c 'import secrets; print(secrets.token_urlsafe(48))')"
            )
        wrong += [f"{one} and {two} must differ" for one, two in combinations(given, 2) if given[one] == given[two]]
        wrong += [
            f"{name.upper()}: its password is one that everybody knows"
            for name in SERVERS
            if has_well_known_password(getattr(self, name))
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def is_http(url: str) -> bool:
    """Whether it is an http(s) URL of a server, without a user, a password or a fragment. What is wrong with it is not told:
    it may hold a secret."""
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return named and "@" not in parts.netloc and "#" not in url and PLAIN.fullmatch(url) is not None


def is_weak(secret: str) -> bool:
    """Whether a secret is short, says the same again and again, or is one that was written down to be replaced."""
    repetitive = len(zlib.compress(secret.encode())) < SECRET_MIN_LENGTH  # chance cannot be compressed
    return len(secret) < SECRET_MIN_LENGTH or secret == LOCAL_SECRET or repetitive or _holds_placeholder(secret)


def has_well_known_password(url: str) -> bool:
    """Whether a server beyond this machine is reached with a password that everybody knows.

    None at all is no fault: certificates, `.pgpass`, a socket or a private network may stand in for one.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host, password = parts.hostname or "", parts.password or ""
    if not password or host in ("", "localhost", "::1") or host.startswith("127."):
        return False
    return _letters_and_digits(password) in WELL_KNOWN or _holds_placeholder(password)


def _holds_placeholder(text: str) -> bool:
    plain = _letters_and_digits(text)
    return any(word in plain for word in PLACEHOLDERS)


def _letters_and_digits(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
