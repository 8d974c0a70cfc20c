"""What the carrier sends: news of a call, and the question what to say in it (CONTRACT.md §5).

Nothing is read of what it has not signed. What is signed is the URL that we gave it, whatever host and scheme the request
seems to have come to, with every field of the form.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs, parse_qsl, urlsplit
from uuid import UUID

import structlog
from flask import Flask, Response, request
from pydantic import ValidationError
from sqlalchemy import select
from structlog.contextvars import bind_contextvars
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import VoiceResponse
from werkzeug.datastructures import MultiDict

from api import body, call_scripts
from api.access import guard
from api.call_schemas import CallCallback
from api.documented import documented
from api.flight import aside
from api.headers import request_id
from api.services import services
from jobs.call_links import STATUS, VOICE, call_in
from jobs.call_reports import RecordStatus
from jobs.kernel.errors import Forbidden, Invalid
from jobs.kernel.policy import Access
from jobs.kernel.submit import Submission, fingerprint, keyed_id
from models import Call
from models.session import DATABASE_ERRORS
from models.views import ident

SIGNATURE = 28
"""Characters of a signature: HMAC-SHA1 in Base64.

Source: https://www.twilio.com/docs/usage/webhooks/webhooks-security
"""

MOST_FIELDS = 200
"""Fields of a form, of which the carrier sends some thirty; more are not worth the work of looking at them."""

SENDER = UUID("7d0a7f5e-3c0c-4f0e-9d5b-6a1c5b0f2e11")
"""Stands for the carrier where an idempotency key needs somebody whose it is."""

NUMBER = re.compile(r"[0-9]{1,9}")

Fields = MultiDict[str, str]

log = structlog.get_logger(__name__)


def register(app: Flask) -> None:
    """Routes that the carrier asks for."""
    app.add_url_rule(STATUS, "twilio.status", status, methods=["POST"])
    app.add_url_rule(VOICE, "twilio.voice", voice, methods=["GET", "POST"])


@guard(Access.ANYONE)
@documented(
    "Tell what becomes of a call",
    description="For Twilio alone, which signs it. What is told is recorded by a job; told again, it is the same job.",
    response=None,
    status=204,
    form=CallCallback,
    problems=(403,),
    takes=("Signature", "CallOfUrl", "MacOfUrl"),
)
def status() -> Response:
    """Queue the news of a call; what is none is passed over, as it would be no better if it were sent again."""
    news = _news(_signed(STATUS))
    if news is None:
        log.warning("callback_ignored")
    else:
        _submit(news)
    return Response(status=204)


@guard(Access.ANYONE)
@documented(
    "Ask what to say in a call",
    description="For Twilio alone, which signs it. Answered in TwiML, for the workflow of the call; for one that is not "
    "known with a few words that are always right.",
    response="text/xml",
    form=CallCallback,
    problems=(403,),
    takes=("Signature", "CallOfUrl", "MacOfUrl"),
)
def voice() -> Response:
    """TwiML: what is said to the customer."""
    _signed(VOICE)
    said = VoiceResponse()
    for sentence in _script():
        said.say(sentence)
    return Response(str(said), content_type="text/xml")


def _signed(path: str) -> Fields:
    """The fields of a form that the carrier has signed for a path of ours. Raises Forbidden (`bad_signature`), and
    RequestEntityTooLarge."""
    settings, given = services().settings, request.environ.get("HTTP_X_TWILIO_SIGNATURE", "")
    if not settings.twilio_auth_token or len(given) != SIGNATURE:
        raise _refused()
    try:
        query = request.query_string.decode()
        url = f"{settings.public_base_url}{path}" + (f"?{query}" if query else "")
        sent = _sent(url)
    except ValueError:  # it is not UTF-8, has too many fields, or says nothing of its body that could be looked at
        raise _refused() from None
    if not RequestValidator(settings.twilio_auth_token).validate(url, sent, given):
        raise _refused()
    return Fields() if isinstance(sent, str) else sent


def _sent(url: str) -> Fields | str:
    """What came beside the URL: the fields of a form; or a body of another sort whose digest stands in the URL, and is
    signed with it. Raises ValueError for what is neither, because nobody has signed it."""
    raw = body.whole() if request.method == "POST" else b""
    if request.mimetype == "application/x-www-form-urlencoded":
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
        return Fields(pairs)
    if "bodySHA256" in parse_qs(urlsplit(url).query):
        return raw.decode()
    if raw:
        raise ValueError("unsigned")
    return Fields()


def _refused() -> Forbidden:
    log.warning("signature_refused")
    return Forbidden("This is not signed by the carrier.", code="bad_signature")


def _news(fields: Fields) -> RecordStatus | None:
    """What the carrier tells of a call, less what cannot be read; None when it does not say of which call, or what."""
    said = _said(fields)
    try:
        return RecordStatus.model_validate(said)
    except ValidationError as unreadable:
        wrong = {error["loc"][0] for error in unreadable.errors(include_url=False)}
    if not wrong.isdisjoint({"sid", "status"}):
        return None
    return RecordStatus.model_validate({name: value for name, value in said.items() if name not in wrong})


def _said(fields: Fields) -> dict[str, object]:
    return {
        "sid": _one(fields, "CallSid"),
        "status": _one(fields, "CallStatus").replace("-", "_"),
        "call": _call(),
        "sequence": _number(_one(fields, "SequenceNumber")),
        "at": _moment(_one(fields, "Timestamp")),
        "duration": _number(_one(fields, "CallDuration")),
        "answered_by": _one(fields, "AnsweredBy"),
    }


def _one(fields: Fields, name: str) -> str:
    """A field that was sent once. The signature does not tell in which order several of one name came."""
    values = fields.getlist(name)
    return values[0] if len(values) == 1 else ""


def _number(text: str) -> int | None:
    return int(text) if NUMBER.fullmatch(text) else None


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _call() -> UUID | None:
    return call_in(services().settings, request.args.get("call"), request.args.get("t"))


def _submit(news: RecordStatus) -> None:
    """Queue it, unless it is queued already."""
    own = services()
    told = [news.sid, news.status if news.sequence is None else str(news.sequence)]
    job_id = keyed_id(own.settings.secret_key, SENDER, ":".join(told))
    mark = fingerprint(f"POST {STATUS}", {"told": told}, None, None)
    bind_contextvars(job_id=ident(job_id))
    try:
        own.submitter.submit(Submission(id=job_id, command=news, owner=None, fingerprint=mark, request_id=request_id()))
    except Invalid:
        log.info("callback_repeated")


def _script() -> tuple[str, ...]:
    """The sentences of the call that the URL was made for."""
    call_id = _call()
    if call_id is None:
        return call_scripts.FALLBACK
    try:
        with aside(), services().readers() as session:
            found = session.execute(select(Call.workflow, Call.customer_name).where(Call.id == call_id)).one_or_none()
    except DATABASE_ERRORS as away:
        log.warning("script_not_known", error=type(away).__name__)
        return call_scripts.FALLBACK
    return call_scripts.sentences(found.workflow, found.customer_name) if found else call_scripts.FALLBACK
