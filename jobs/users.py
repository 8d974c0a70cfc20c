"""Users: who registers, is created or imported, amended, deleted; and what a client may say of one (CONTRACT.md §3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import email_validator
from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from jobs.kernel.command import Command
from jobs.kernel.context import Context
from jobs.kernel.envelope import Job
from jobs.kernel.outcome import Outcome, succeeded
from jobs.kernel.policy import Access, Policy, RateLimit, Retry
from jobs.kernel.private import PRIVATE
from jobs.kernel.secret import Password
from jobs.user_book import UserBook
from models import User

# Nobody writes to these addresses, so that one of an intranet, or of a test, is as good as any.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

LONGEST_EMAIL = 254  # RFC 5321 §4.5.3.1.3, without the angle brackets of a path

RETRY = Retry(attempts=5, base=0.5, cap=60)
USERS = Policy(queue="users", retry=RETRY, in_session=True)
BY_ADMINS = Policy(queue="users", access=Access.ADMIN, retry=RETRY, in_session=True)
BY_ANYONE = Policy(
    queue="users", access=Access.ANYONE, limits=(RateLimit("rate_limit_register", by="address"),), retry=RETRY
)
BY_US = Policy(queue="users", access=Access.OPERATOR, retry=RETRY)


def _address(value: str) -> str:
    """An email address by its form alone, in its normal form. pydantic's EmailStr would take `Ada <ada@example.com>` too."""
    try:
        return validate_email(value, check_deliverability=False, strict=True).normalized
    except EmailNotValidError as refused:
        raise ValueError(str(refused)) from None


def normal_email(value: str) -> str:
    """The form in which an email address is stored; what is none stays as it is."""
    try:
        return _address(value.strip())
    except ValueError:
        return value


def folded_email(value: str) -> str:
    """An address as it is compared, in its normal form, each letter in its simple lower case (`models.user.folded`)."""
    return "".join(letter.lower()[0] for letter in normal_email(value))


Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=LONGEST_EMAIL),
    AfterValidator(_address),
    Field(description="compared without case", examples=["ada@example.com"], json_schema_extra={"format": "email"}),
    PRIVATE,
]
PersonName = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$",
    ),
    Field(description="without control characters", examples=["Ada Lovelace"]),
    PRIVATE,
]
Role = Literal["user", "admin"]


class UserCommand(Command, policy=USERS):
    """What changes users: decided together, because one can free the email that another claims, or end the right to it."""

    @classmethod
    def handle_many(cls, ctx: Context, jobs: Sequence[Job[Any]]) -> Sequence[Outcome]:
        return UserBook(ctx, jobs).decide()

    def claims(self) -> str | None:
        """The email that is somebody's when this has been carried out."""
        return None

    def concerns(self) -> UUID | None:
        """Whom it is about, where no route has a target that says so."""
        return None

    def decide(self, book: UserBook, job: Job[Any]) -> Outcome:
        """Carry it out in the book. Raises Rejected."""
        raise NotImplementedError


class NewUser(UserCommand):
    """What makes a user."""

    email: Email
    password: Password
    name: PersonName

    def claims(self) -> str | None:
        return self.email

    def values(self) -> dict[str, Any]:
        """The columns of the new user."""
        return {"email": self.email, "name": self.name, "password_hash": self.password, "role": "user"}

    def decide(self, book: UserBook, job: Job[Any]) -> Outcome:
        return book.add(job, self.values())


class RegisterUser(
    NewUser, kind="users.register", route="POST /v1/auth/register", policy=BY_ANYONE, creates="/v1/users"
):
    """Register.

    Rejected as `email_taken` when somebody has that email. Its job can be read by whoever holds its id.
    """

    def sender(self) -> str | None:
        return folded_email(self.email)

    def decide(self, book: UserBook, job: Job[Any]) -> Outcome:
        """The job is read without a token, so it tells no more than that there is an account now."""
        super().decide(book, job)
        return succeeded()


class CreateUser(NewUser, kind="users.create", route="POST /v1/users", policy=BY_ADMINS, creates=True):
    """Create a user.

    Rejected as `email_taken` when somebody has that email.
    """

    role: Role = "user"

    def values(self) -> dict[str, Any]:
        return super().values() | {"role": self.role}


class ImportUser(NewUser, kind="users.import", policy=BY_US, creates="/v1/users"):
    """Import a user, from the command line."""

    name: PersonName = ""  # by default what stands before the @ of the email
    role: Role

    def values(self) -> dict[str, Any]:
        return super().values() | {"name": self.name or self.email.partition("@")[0], "role": self.role}


class AmendUser(UserCommand, kind="users.amend", route="PATCH /v1/users/{id}", target=User):
    """Amend a user: what is left out stays as it is.

    `role` and `disabled` are for admins. A new password, another role, and disabling end all sessions of the user.
    """

    email: Email = ""
    name: PersonName = ""
    password: Password = ""
    role: Role = "user"
    disabled: bool = False

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("names nothing to change")
        return self

    def admits(self, role: str | None, sender: UUID | None) -> bool:
        return super().admits(role, sender) and (
            role == "admin" or self.model_fields_set.isdisjoint({"role", "disabled"})
        )

    def claims(self) -> str | None:
        return self.email or None

    def decide(self, book: UserBook, job: Job[Any]) -> Outcome:
        columns = {"password": "password_hash"}
        return book.amend(job, {columns.get(name, name): vars(self)[name] for name in self.model_fields_set})


class DeleteUser(UserCommand, kind="users.delete", route="DELETE /v1/users/{id}", target=User):
    """Delete a user.

    All their sessions end, and the email can be used again; what they own stays.
    """

    def decide(self, book: UserBook, job: Job[Any]) -> Outcome:
        return book.remove(job)


class RehashPassword(UserCommand, kind="users.rehash", policy=BY_US):
    """Replace the hash of a password by a stronger one of the same password, as it was at that `session_version`."""

    user_id: UUID
    session_version: int
    password_hash: Password

    def concerns(self) -> UUID | None:
        return self.user_id

    def decide(self, book: UserBook, job: Job[Any]) -> Outcome:
        return book.rehash(self.user_id, self.session_version, self.password_hash)
