"""Settings that are weak, or contradict each other, as far as `Settings` lets them pass: it refuses what is plainly wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from sqlalchemy import make_url

from api.doctor_checks import Finding, fine, warning
from config import Settings, is_weak

Complaints = Iterator[tuple[str, str]]
"""What is wrong, and what mends it."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def configuration(settings: Settings) -> Iterator[Finding]:
    """One finding for each subject."""
    for subject, look in SUBJECTS.items():
        name, complaints = f"configuration.{subject}", list(look(settings))
        if complaints:
            wrong, mends = zip(*complaints, strict=True)
            yield warning(name, "; ".join(wrong), " ".join(dict.fromkeys(mends)))
        else:
            yield fine(name, "as it should be")


def _mode(settings: Settings) -> Complaints:
    if settings.environment == "local":
        yield (
            "ENVIRONMENT is local, so that secrets which everybody knows are allowed",
            "Before anybody else reaches it, set ENVIRONMENT=production.",
        )


def _secrets(settings: Settings) -> Complaints:
    """Outside local mode, none that is weak gets so far."""
    if weak := [name for name in ("secret_key", "jwt_secret_key") if is_weak(getattr(settings, name))]:
        yield (
            f"weak: {', '.join(weak).upper()}",
            "Make one of its own for each: python -c 'import secrets; print(secrets.token_urlsafe(48))'.",
        )
    if settings.jwt_secret_key_previous:
        yield (
            "tokens that an older key has signed are still believed",
            "Seven days after the roll-over, unset JWT_SECRET_KEY_PREVIOUS.",
        )


def _public_url(settings: Settings) -> Complaints:
    if settings.environment == "local":
        return
    if _in_the_clear(settings.public_base_url) or _host(settings.public_base_url) in LOOPBACK:
        yield (
            f"PUBLIC_BASE_URL is {settings.public_base_url}, which others cannot reach, or not in private",
            "Set PUBLIC_BASE_URL to the https:// URL that clients use.",
        )
    if settings.public_base_url.startswith("https://") and not settings.trusted_proxies:
        yield (
            "something in front ends TLS, but TRUSTED_PROXIES is 0: all clients count as one address",
            "Set TRUSTED_PROXIES to how many proxies in front set X-Forwarded-For.",
        )


def _origins(settings: Settings) -> Complaints:
    if "*" in settings.cors_origins:
        yield "pages of every origin may read answers", "Name the origins in CORS_ORIGINS that are yours."
    if clear := [origin for origin in settings.cors_origins if _in_the_clear(origin)]:
        yield f"anybody on the way can speak for {', '.join(clear)}", "Name https:// origins in CORS_ORIGINS."


def _limits(settings: Settings) -> Complaints:
    if off := [name.upper() for name, value in settings if name.startswith("rate_limit_") and not value]:
        yield f"no limit: {', '.join(off)}", f"Give each a limit, as {off[0]}=10/minute."
    if not settings.max_in_flight:
        yield "MAX_IN_FLIGHT is 0: overloaded, it answers everybody too late", "Set MAX_IN_FLIGHT=32."


def _databases(settings: Settings) -> Complaints:
    mend = "Give it a role of its own, then: flask --app api.app roles sync."
    if not settings.read_database_url:
        yield (
            "READ_DATABASE_URL is empty: the API reads as the owner, and its sessions alone keep it from writing",
            mend,
        )
    if not settings.write_database_url and settings.database_url and "database_url" in settings.model_fields_set:
        yield "WRITE_DATABASE_URL is empty: workers write as the owner, who may change the schema", mend
    reader, writer = (_user(url) for url in (settings.read_database_url, settings.write_database_url))
    if reader and reader == writer:
        yield f"{reader} is the role of the API and of workers: it cannot be both", mend


def _redis_url(settings: Settings) -> Complaints:
    parts = urlsplit(settings.redis_url)
    if parts.path.strip("/") not in ("", "0"):
        yield f"REDIS_URL names database {parts.path.strip('/')}", "Use database 0: end REDIS_URL in /0."
    if not parts.password and parts.hostname not in (None, *LOOPBACK):
        yield (
            "REDIS_URL has no password, so that whoever reaches Redis can do everything",
            "Make its users: flask --app api.app redis acl prints the commands.",
        )


def _calls(settings: Settings) -> Complaints:
    if settings.call_give_up_seconds <= settings.call_settle_seconds:
        yield (
            "CALL_GIVE_UP_SECONDS is no more than CALL_SETTLE_SECONDS: no lost call can be found not to have been placed",
            f"Set CALL_GIVE_UP_SECONDS to {20 * settings.call_settle_seconds}.",
        )
    if not settings.twilio_account_sid or _host(settings.twilio_api_base_url) in LOOPBACK:
        return
    if not settings.call_countries:
        yield (
            "anybody may have calls placed to every country",
            "Name the countries that you call in CALL_COUNTRIES, like US,CA.",
        )
    if _host(settings.public_base_url) in LOOPBACK:
        yield "the provider cannot reach PUBLIC_BASE_URL to report on calls", "Set PUBLIC_BASE_URL to one that it can."
    if _in_the_clear(settings.twilio_api_base_url):
        yield "the account's token goes to the provider in the clear", "Set TWILIO_API_BASE_URL to an https:// URL."


def _events(settings: Settings) -> Complaints:
    if settings.event_sink_url and _in_the_clear(settings.event_sink_url):
        yield "events go to their sink in the clear", "Set EVENT_SINK_URL to an https:// URL."


def _logs(settings: Settings) -> Complaints:
    if settings.environment != "local" and settings.log_format != "json":
        yield "logs are text for people, which programs cannot read", "Set LOG_FORMAT=json."


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _in_the_clear(url: str) -> bool:
    """Whether what goes there can be read on its way, beyond this machine."""
    return url.startswith("http://") and _host(url) not in LOOPBACK


def _user(url: str) -> str | None:
    return make_url(url).username if url else None


SUBJECTS: dict[str, Callable[[Settings], Complaints]] = {
    "mode": _mode,
    "secrets": _secrets,
    "public_url": _public_url,
    "origins": _origins,
    "limits": _limits,
    "databases": _databases,
    "redis_url": _redis_url,
    "calls": _calls,
    "events": _events,
    "logs": _logs,
}
