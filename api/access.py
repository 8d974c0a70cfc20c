"""Who may ask: every view declares its access, and the present caller is known by the token of the request.

A token speaks for its caller as long as the session lasts that it was given in. That is looked at where a request is
counted, in the same round trip: by `answers` for all that is answered here, by the submit script for a write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from flask import Flask, Response, g, make_response, request
from flask.typing import ResponseReturnValue
from structlog.contextvars import bind_contextvars
from werkzeug.routing import BaseConverter

from api.accounts import stands
from api.cache import NOTHING, Looked, Place
from api.documented import sending
from api.services import services
from api.tokens import Caller
from jobs.kernel import registry
from jobs.kernel.errors import Forbidden, NotFound, QueueDown, QueueFull, SessionEnded, Unauthenticated
from jobs.kernel.policy import Access
from models.views import ident, spelled_id

if TYPE_CHECKING:
    from api.limits import Limits


class Named(BaseConverter):
    """What stands in a path for an id: anything but the words that have routes of their own."""

    regex = r"(?!(?:batch|circuit-status|discard|me|replay|stats)$)[^/]+"


View = Callable[..., ResponseReturnValue]


def guard(access: Access) -> Callable[[View], View]:
    """Declare who may use a view; the others are turned away before it runs.

    Such a view raises Unauthenticated (no token, or none that is good) or Forbidden (not that role).
    """

    def declare(view: View) -> View:
        @wraps(view)
        def guarded(**arguments: Any) -> ResponseReturnValue:
            unsigned = access is Access.ANYONE or (
                access is Access.HOLDER and "HTTP_AUTHORIZATION" not in request.environ
            )
            if not unsigned and not access.admits(caller().role):
                raise Forbidden
            return view(**arguments)

        vars(guarded)["access"] = access
        return guarded

    return declare


def answers(
    access: Access = Access.USER, *, about_sessions: bool = False, cached: bool = False
) -> Callable[[View], View]:
    """Declare what is answered here and now, most of all a read, and who may use it.

    It counts against the caller's limit, without a token against that of the address; and what is `about_sessions`,
    which cannot be done without Redis, against one of the session alone. What is `cached` is kept for whoever asked, until
    something changes in its domain (the first word of its endpoint). Such a view raises SessionEnded, RateLimited, and
    what `guard` says.
    """

    def declare(view: View) -> View:
        guarded = guard(access)(sending(view, "Cache") if cached else view)

        @wraps(guarded)
        def counted(**arguments: Any) -> ResponseReturnValue:
            who = known_caller()
            limits = services().limits
            if who is not None and about_sessions:
                limits.count_session(who.id, who.session)
            elif who is not None and cached:
                return from_cache(who, access, lambda: make_response(view(**arguments)))
            elif who is not None:
                count_in_session(who)
            elif access is Access.HOLDER:
                limits.count_address()
            return guarded(**arguments)

        vars(counted)["answers"] = True
        return guarded if access is Access.ANYONE else counted

    return declare


def from_cache(who: Caller, access: Access, view: Callable[[], Response]) -> Response:
    """Count what somebody asks, and show what is kept of it, or what the view answers. Raises what `count_in_session` does,
    and Forbidden."""
    cache = services().cache
    place = cache.place(who)
    looked = count_in_session(who, place)
    if not access.admits(who.role):
        raise Forbidden
    return cache.answer(place, looked, view)


def ends_sessions(view: View) -> View:
    """Declare what ends a session, and sees for itself that the one it is asked in lasts: it is not counted, because it
    can be done only as often as there are sessions."""
    guarded = guard(Access.USER)(view)
    vars(guarded)["answers"] = True
    return guarded


def submits(view: View) -> View:
    """Declare what queues jobs by hand, for whoever is signed in. It counts against the caller's limit before it is looked at, and
    is not done without Redis. Such a view raises SessionEnded, RateLimited, QueueDown, QueueFull, and what `guard` says."""

    @wraps(view)
    def counted(**arguments: Any) -> ResponseReturnValue:
        services().limits.count_caller(caller())
        return view(**arguments)

    guarded = guard(Access.USER)(counted)
    vars(guarded)["answers"] = True
    return guarded


def count_in_session(who: Caller, place: Place | None = None) -> Looked:
    """Count what somebody asks whose session lasts, and see whether its answer is kept. Without Redis nothing is counted, and
    PostgreSQL knows whose sessions have all ended. Raises SessionEnded, RateLimited."""
    try:
        return services().limits.count_caller(who, place)
    except (QueueDown, QueueFull):
        if not stands(who.id, who.session_version):
            raise SessionEnded from None
        return NOTHING


def make_sure_in_session(who: Caller) -> None:
    """As `count_in_session`, for what counts against nobody."""
    try:
        services().limits.look(who)
    except (QueueDown, QueueFull):
        if not stands(who.id, who.session_version):
            raise SessionEnded from None


def lasts(limits: Limits, who: Caller) -> bool:
    """Whether somebody's session lasts: for what goes on when the request has been answered. Without Redis it does, until the
    token expires."""
    try:
        limits.look(who)
    except SessionEnded:
        return False
    except (QueueDown, QueueFull):
        return True
    return True


def caller() -> Caller:
    """Whoever the present request comes from. Raises Unauthenticated."""
    who = _present()
    if isinstance(who, Unauthenticated):
        raise who
    return who


def known_caller() -> Caller | None:
    """Whoever the present request comes from, if that is known."""
    who = _present()
    return who if isinstance(who, Caller) else None


def id_of(text: str) -> UUID:
    """The id in a path. Raises NotFound: nothing is called by what is no UUID."""
    if (found := spelled_id(text)) is None:
        raise NotFound
    return found


def access_of(view: Callable[..., Any]) -> Access:
    """What a view has declared; pages outside `/v1` that declare nothing are for anyone."""
    return cast(Access, getattr(view, "access", Access.ANYONE))


def matrix(app: Flask) -> Iterator[tuple[str, str, Access]]:
    """Every (method, rule, access) under `/v1`. Raises TypeError for a view that has declared nothing, or asks for a token
    and does not look whether its session lasts."""
    for rule in app.url_map.iter_rules():
        if not rule.rule.startswith("/v1"):
            continue
        view = app.view_functions[rule.endpoint]
        if not hasattr(view, "access"):
            raise TypeError(f"{rule.rule} ({rule.endpoint}): its view has not declared who may use it")
        if access_of(view) is not Access.ANYONE and not (hasattr(view, "answers") or registry.find(rule.endpoint)):
            raise TypeError(f"{rule.rule} ({rule.endpoint}): its view neither `answers` nor is a write")
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, rule.rule, access_of(view)


def _present() -> Caller | Unauthenticated:
    """Told from the request once, and kept for its duration."""
    who: Caller | Unauthenticated | None = g.get("caller")
    if who is None:
        try:
            who = services().tokens.read(bearer_token())
            bind_contextvars(user_id=ident(who.id))
        except Unauthenticated as refused:
            who = refused
        g.caller = who
    return who


def bearer_token() -> str:
    """The token of `Authorization: Bearer …` (RFC 6750 §2.1). Raises Unauthenticated."""
    given: str = request.environ.get("HTTP_AUTHORIZATION", "")
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated
    return token.strip()
