"""Signing in, staying signed in, and signing out (CONTRACT.md §3)."""

from __future__ import annotations

from typing import Annotated, Literal

import orjson
import structlog
from flask import Flask, Response, request
from flask_jwt_extended import set_refresh_cookies, unset_refresh_cookies
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api import body, passwords, sessions
from api.access import caller, ends_sessions, guard, id_of
from api.accounts import Account, account_of, authenticate
from api.documented import documented
from api.schemas import SignedIn
from api.services import services
from api.sessions import Rotation
from api.tokens import LIFETIME, new_jti
from jobs.kernel.errors import NotFound, SessionEnded, Unauthenticated
from jobs.kernel.policy import Access, RateLimit
from jobs.users import folded_email, normal_email

COOKIE = "refresh_token_cookie"
CSRF_HEADER = "X-CSRF-TOKEN"
FROM_ADDRESS = RateLimit("rate_limit_login_address", by="address")
TO_ACCOUNT = RateLimit("rate_limit_login_account", by="account")

log = structlog.get_logger(__name__)


class Login(BaseModel):
    """What signing in takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    email: Annotated[str, AfterValidator(normal_email)] = Field(
        min_length=3, max_length=320, examples=["user@example.com"]
    )
    password: str = Field(min_length=1, max_length=128, repr=False, examples=["Correct-horse1"])
    transport: Literal["cookie", "body"] = Field("cookie", description="how a refresh token is to travel")

    @property
    def account(self) -> str:
        """Whose password is tried, however the email is written."""
        return folded_email(self.email)


class Renewal(BaseModel):
    """What staying signed in takes, where the refresh token is not in its cookie."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    refresh_token: str | None = Field(
        None,
        min_length=1,
        max_length=4096,
        repr=False,
        examples=["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0eXAiOiJ4In0.c2ln"],
    )


def register(app: Flask) -> None:
    """Routes of signing in and out."""
    app.add_url_rule("/v1/auth/login", "auth.login", login, methods=["POST"])
    app.add_url_rule("/v1/auth/refresh", "auth.refresh", refresh, methods=["POST"])
    app.add_url_rule("/v1/auth/logout", "auth.logout", logout, methods=["POST"])
    app.add_url_rule("/v1/auth/sessions/<id>", "auth.end", end, methods=["DELETE"])
    passwords.nobodys_hash()  # now: made at the first unknown email, it would double the time that this one takes


@guard(Access.ANYONE)
@documented(
    "Sign in",
    description="Answers an access token for 15 minutes, and a refresh token for 7 days: in a cookie that scripts cannot read, "
    "with its CSRF token in another and in `X-CSRF-TOKEN`; or, with `transport: body`, as `refresh_token`. Limited by "
    "address and by account.",
    response=SignedIn,
    body=Login,
    problems=(401, 429, 503),
    sends=("SetCookie", "CsrfToken"),
)
def login() -> Response:
    """Sign in, with a password; answers a token for 15 minutes and one for 7 days."""
    limits = services().limits
    limits.count(FROM_ADDRESS)
    asked = body.load(Login)
    limits.count(TO_ACCOUNT, asked)
    for _ in range(2):  # a change of the password between looking at it and opening the session is seen the second time
        account = authenticate(asked.email, asked.password)
        if account is None:
            break
        jti = new_jti()
        session = services().sessions.open(account.id, account.session_version, jti, request.user_agent.string)
        if session is not None:
            return signed_in(account, str(session), jti, by_cookie=asked.transport == "cookie")
    raise Unauthenticated("Email or password is wrong.", code="invalid_credentials")


@guard(Access.ANYONE)
@documented(
    "Stay signed in",
    description="Exchanges a refresh token for an access token and the next refresh token, which travels as this one did. It "
    "comes in its cookie, and then needs its CSRF token in `X-CSRF-TOKEN`; or as `refresh_token`. One that is used twice "
    "ends its session.",
    response=SignedIn,
    body=Renewal,
    body_required=False,
    problems=(401, 429, 503),
    takes=("CsrfToken",),
    sends=("SetCookie", "CsrfToken"),
    by_cookie=True,
)
def refresh() -> Response:
    """Exchange a refresh token, which is good once."""
    own, asked = services(), body.load(Renewal, optional=True)
    said = own.tokens.read_refresh(*_given(asked))
    own.limits.count_session(said.user, said.session)
    account = account_of(said)
    if account is None:
        raise SessionEnded
    jti = new_jti()
    became = own.sessions.rotate(said.user, said.session, said.jti, jti)
    if became is Rotation.ROTATED:
        return signed_in(account, said.session, jti, by_cookie=asked.refresh_token is None)
    if became is Rotation.REUSED:
        log.warning("refresh_token_reused", user_id=str(said.user), session=said.session)
    raise SessionEnded


@ends_sessions
@documented(
    "Sign out",
    description="Ends this session, its access token and its refresh token.",
    response=None,
    status=204,
    problems=(503,),
    sends=("SetCookie",),
)
def logout() -> Response:
    """End the session that the caller's token was given in."""
    who = caller()
    services().sessions.end(who.id, who.session, asked_in=who.session)
    response = Response(status=204)
    unset_refresh_cookies(response)
    return response


@ends_sessions
@documented("End a session", description="One of your own, at once.", response=None, status=204, problems=(503,))
def end(id: str) -> Response:
    """End one of the caller's sessions."""
    who = caller()
    if not services().sessions.end(who.id, id_of(id), asked_in=who.session):
        raise NotFound
    return Response(status=204)


def signed_in(account: Account, session: str, jti: str, *, by_cookie: bool) -> Response:
    """The answer to whoever has signed in, or stays so."""
    tokens = services().tokens
    access = tokens.access(account.id, role=account.role, session=session, session_version=account.session_version)
    next_one = tokens.refresh(account.id, jti=jti, session=session, session_version=account.session_version)
    answer = {"access_token": access, "token_type": "Bearer", "expires_in": LIFETIME}
    if not by_cookie:
        return _json(answer | {"refresh_token": next_one})
    response = _json(answer)
    set_refresh_cookies(response, next_one, max_age=sessions.LIFETIME)
    response.headers[CSRF_HEADER] = tokens.csrf_of(next_one)
    return response


def _given(asked: Renewal) -> tuple[str, str | None]:
    """The refresh token of the request; and what its CSRF token has to be, where it came by its cookie."""
    if asked.refresh_token is not None:
        return asked.refresh_token, None
    by_cookie = request.cookies.get(COOKIE)
    if not by_cookie:
        raise Unauthenticated("A refresh token is needed.")
    return by_cookie, request.headers.get(CSRF_HEADER, "")


def _json(answer: dict[str, object]) -> Response:
    return Response(orjson.dumps(answer), content_type="application/json")
