"""What a client may write of a user: emails, names, passwords; and that a password is never written anywhere."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from jobs.kernel.envelope import open_command, pack
from jobs.kernel.secret import SEALED, Hashed, sealed
from jobs.users import AmendUser, CreateUser, ImportUser, RegisterUser

PASSWORD, HASH = "Correct-horse1", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"
ADA: dict[str, Any] = {"email": "ada@example.com", "password": PASSWORD, "name": "Ada"}


def register(**fields: Any) -> RegisterUser:
    return RegisterUser.model_validate_json(orjson.dumps(ADA | fields))


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("ada@example.com", "ada@example.com"),
        (" ada@example.com ", "ada@example.com"),
        ("Ada.L+x@Example.COM", "Ada.L+x@example.com"),
        ("ada@xn--bcher-kva.de", "ada@bücher.de"),
        ("a\u0308da@example.com", "äda@example.com"),
        (f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 57}.de", f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 57}.de"),
    ],
)
def test_an_email_is_kept_in_its_normal_form(written: str, means: str) -> None:
    found = register(email=written).email
    assert found == means
    assert register(email=found).email == found


@pytest.mark.parametrize(
    "written",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@example",
        "ada@localhost",
        "a da@example.com",
        "ada@exam ple.com",
        "ada@example.com, bob@example.com",
        "Ada <ada@example.com>",
        '"ada"@example.com',
        "ada@[127.0.0.1]",
        "ada..l@example.com",
        "a\u0000da@example.com",
        "a\nda@example.com",
        f"{'a' * 65}@{'b' * 63}.{'c' * 63}.{'d' * 57}.de",
        f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 63}.de",
        5,
        None,
    ],
)
def test_what_is_no_email_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match="email"):
        register(email=written)


@pytest.mark.parametrize(
    ("written", "means"),
    [("Ada", "Ada"), ("  Ada Lovelace\n", "Ada Lovelace"), ("x" * 100, "x" * 100), ("李 🦊 O'Neil", "李 🦊 O'Neil")],
)
def test_a_name_is_stripped(written: str, means: str) -> None:
    assert register(name=written).name == means


@pytest.mark.parametrize(
    "written", ["", "  ", "\u3000", "x" * 101, "a\nb", "a\x00b", "a\x7fb", "a\x85b", "a\u2028b", None]
)
def test_what_is_no_name_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match="name"):
        register(name=written)


@pytest.mark.parametrize("password", [PASSWORD, "aA1@aA1@", "aA1@" * 32, "Pässwort 1?"])
def test_a_password_that_keeps_the_rules_passes(password: str) -> None:
    assert register(password=password).password == password


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("aA1@aA1", "at least 8"),
        ("aA1@" * 32 + "a", "at most 128"),
        ("CORRECT-HORSE1", "lower case"),
        ("correct-horse1", "upper case"),
        ("Correct-horse", "digit"),
        ("Correct+horse1", "one of"),
        ("Ünï-çødé", "upper case letter, a digit"),
        (12345678, "string"),
        (None, "string"),
    ],
)
@pytest.mark.parametrize("kind", [RegisterUser, CreateUser, AmendUser])
def test_a_password_that_does_not_is_refused_with_the_reason(kind: type[Any], password: Any, reason: str) -> None:
    body = {"password": password} | ({} if kind is AmendUser else {"email": ADA["email"], "name": "Ada"})
    with pytest.raises(ValidationError, match=reason) as refused:
        kind.model_validate_json(orjson.dumps(body))
    assert [error["loc"] for error in refused.value.errors()] == [("password",)]


def test_a_plain_password_is_neither_written_down_nor_shown() -> None:
    command = register()
    for write in (command.model_dump, command.model_dump_json, lambda: pack(command)):
        with pytest.raises((PydanticSerializationError, TypeError), match="plain password"):
            write()
    assert PASSWORD not in repr(command)


def test_a_hash_from_a_client_is_a_password_like_any_other() -> None:
    assert not isinstance(register(password=HASH + "-A1").password, Hashed)
    with pytest.raises(ValidationError, match="upper case"):
        register(password="$argon2id$v=19$m=65536,t=3,p=4$salt$hash")


def test_what_travels_is_the_hash_and_nothing_else_is_taken_from_the_queue() -> None:
    envelope = pack(sealed(register(), lambda _: HASH))
    assert PASSWORD not in str(envelope)
    opened = open_command(envelope)
    assert isinstance(opened, RegisterUser)
    assert isinstance(opened.password, Hashed)
    assert opened.password == HASH
    with pytest.raises(ValidationError, match="hash"):
        RegisterUser.model_validate(ADA, context=SEALED)


@pytest.mark.parametrize(
    "body", [{}, {"email": None}, {"name": None}, {"role": "owner"}, {"disabled": "yes"}, {"id": "x"}]
)
def test_an_amendment_has_to_change_something_that_there_is(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AmendUser.model_validate_json(orjson.dumps(body))


@pytest.mark.parametrize("fields", [{"role": "admin"}, {"disabled": False}, {"id": "x"}, {"password_hash": HASH}])
def test_who_registers_has_no_say_in_anything_else(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fields))):
        register(**fields)


@pytest.mark.parametrize(
    ("body", "by_user"), [({"name": "X"}, True), ({"role": "user"}, False), ({"name": "X", "disabled": False}, False)]
)
def test_only_admins_may_name_a_role_or_disabled(body: dict[str, Any], by_user: bool) -> None:
    command = AmendUser.model_validate_json(orjson.dumps(body))
    assert [command.admits(role, None) for role in (None, "user", "admin")] == [False, by_user, True]


def test_who_registers_is_told_from_others_by_the_email_without_case() -> None:
    assert register(email="Ada@Example.com").sender() == register().sender() == "ada@example.com"


@pytest.mark.parametrize("role", ["", "owner", "Admin"])
def test_what_is_imported_has_a_role_that_there_is(role: str) -> None:
    with pytest.raises(ValidationError, match="role"):
        ImportUser.model_validate(ADA | {"role": role})
