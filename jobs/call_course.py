"""The course of a call: by what is known of it, it goes forwards only, has each status at most once, and ends once."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import structlog

from jobs.kernel.context import Context
from jobs.kernel.errors import Conflict, NotFound
from jobs.kernel.ports import Placed
from models import call_store
from models.call import Call, Status

FOUND_LATE = "The carrier told of it only after it had been looked for in vain, and given up."

log = structlog.get_logger(__name__)


class CallCourse:
    """How the calls of one transaction go on."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._session = ctx.session
        self._settings = ctx.settings

    def get(self, call_id: UUID) -> Call:
        """The call, locked. Raises NotFound."""
        call = call_store.lock(self._session, call_id)
        if call is None:
            raise NotFound
        return call

    def hear(
        self,
        call: Call,
        placed: Placed,
        source: str,
        at: datetime | None = None,
        sequence: int | None = None,
        *,
        signed: bool = False,
    ) -> None:
        """The carrier tells of a call: how far it has come, and by which name it goes. `signed`: at a URL made for this very
        call, which knows better than a guess. Raises Conflict for another name than it goes by already."""
        if call.sid is not None and call.sid != placed.sid and not (call.guessed and signed):
            log.error("call_has_two_names", call_id=str(call.id), sids=[call.sid, placed.sid])
            raise Conflict("The carrier knows this call by another name.", code="call_has_two_names")
        call.guessed = call.guessed and not signed
        self.bind(call, placed, source, at, sequence)

    def advance(
        self,
        call: Call,
        status: Status,
        source: str = "worker",
        at: datetime | None = None,
        sequence: int | None = None,
    ) -> bool:
        """A call has had a status: whether that changed anything that can be seen of it. It ends once."""
        if status.final and Status(call.status).final:
            return False
        new = call_store.add_event(self._session, call, status, at or self._ctx.now, source, sequence)
        follows = status.follows(Status(call.status))
        if follows:
            call.status = status.value
            call.updated_at = max(call.updated_at, self._ctx.now)
        if new or follows:
            self.changed(call)
        return new or follows

    def changed(self, call: Call) -> None:
        """Something of a call is another that can be seen."""
        call.version += 1
        self._ctx.drop("calls", call.owner_id)

    def bind(
        self, call: Call, placed: Placed, source: str, at: datetime | None = None, sequence: int | None = None
    ) -> None:
        """A call goes by the carrier's name, and has come as far as it says."""
        if call.sid is None and Status(call.status).final:
            log.error("call_found_too_late", call_id=str(call.id), status=call.status, sid=placed.sid)
            call.reason = FOUND_LATE if call.status == Status.NOT_PLACED else call.reason
        before = (call.sid, call.duration, call.answered_by, call.reason)
        call.sid = placed.sid
        call.reason = None if call.status == Status.UNKNOWN else call.reason
        call.duration = placed.duration if placed.duration is not None else call.duration
        call.answered_by = placed.answered_by or call.answered_by
        moved = self.advance(call, Status(placed.status), source, at, sequence)
        if not moved and before != (call.sid, call.duration, call.answered_by, call.reason):
            self.changed(call)
