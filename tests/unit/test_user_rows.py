"""A file of users, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.user_rows import BadHeaderError, Row, rows

PASSWORD = "Correct-horse1"
GOOD = f"ada@example.com,{PASSWORD},user"


def read(folder: Path, content: str | bytes) -> dict[int, str]:
    """By line: whose row it is, or what is wrong with it."""
    file = folder / "users.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return {
        row.line: f"{row.command.email} {row.command.values()['name']} {row.command.role}"
        if isinstance(row, Row)
        else row.reason
        for row in rows(file)
    }


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_may_have_a_mark_either_end_of_lines_and_blank_lines(tmp_path: Path, mark: str, end: str) -> None:
    lines = ["email,password,role", GOOD, "", f" bob@example.com ,{PASSWORD}, admin "]
    found = {2: "ada@example.com ada user", 4: "bob@example.com bob admin"}
    assert read(tmp_path, mark + end.join(lines)) == found
    assert read(tmp_path, mark + end.join([*lines, ""])) == found


def test_columns_may_come_in_any_order_and_a_name_may_be_left_out(tmp_path: Path) -> None:
    body = (
        f'Name, role,EMAIL,password\n"Lovelace, Ada",user,ada@example.com,{PASSWORD}\n ,user,b@example.com,{PASSWORD}\n'
    )
    assert read(tmp_path, body) == {2: "ada@example.com Lovelace, Ada user", 3: "b@example.com b user"}


def test_a_password_is_taken_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "users.csv"
    file.write_text('email,password,role\na@example.com," Correct, ""horse""1@ ",user\n')
    (row,) = rows(file)
    assert isinstance(row, Row)
    assert row.command.password == ' Correct, "horse"1@ '


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"ada@example.com,{PASSWORD}", "should have 3 columns, and has 2"),
        (f"ada@example.com,{PASSWORD},user,x", "should have 3 columns, and has 4"),
        (f"ada,{PASSWORD},user", "email: An email address must have an @-sign."),
        (f"ada@example.com,{PASSWORD},owner", "role: Input should be 'user' or 'admin'"),
        ("ada@example.com,Secret1,user", "password: String should have at least 8 characters"),
        (
            "ada@example.com,secretsecret,admin",
            "password: Should have an upper case letter, a digit, one of @$!%*?&#^_-",
        ),
        (f'"ada@example.com"x,{PASSWORD},user', "cannot be read as CSV: ',' expected after '\"'"),
        (b"\xe9da@example.com,Secret-1x,user", "is not UTF-8"),
        (b"a" * 200_000 + b",Secret-1x,user", "cannot be read as CSV: field larger than field limit (131072)"),
    ],
    ids=range(9),
)
def test_a_row_that_is_wrong_spoils_no_other_and_is_not_quoted(tmp_path: Path, row: str | bytes, reason: str) -> None:
    raw = row.encode() if isinstance(row, str) else row
    found = read(tmp_path, b"\n".join([b"email,password,role", raw, GOOD.encode()]))
    assert found == {2: reason, 3: "ada@example.com ada user"}
    assert "ecret1" not in reason
    assert PASSWORD not in reason


def test_everything_wrong_with_a_row_is_told(tmp_path: Path) -> None:
    (reason,) = read(tmp_path, "email,password,role\nada,x,owner\n").values()
    assert [part.partition(":")[0] for part in reason.split("; ")] == ["email", "password", "role"]


def test_a_quote_that_never_ends_is_told(tmp_path: Path) -> None:
    assert read(tmp_path, f'email,password,role\n{GOOD}\n"bob,{PASSWORD},user\n{GOOD}\n') == {
        2: "ada@example.com ada user",
        3: "cannot be read as CSV: unexpected end of data",
    }


@pytest.mark.parametrize(
    "header",
    [
        "",
        GOOD,
        "email,password",
        "email;password;role",
        "email,password,role,color",
        "email,password,role,email",
        '"email',
        "email,password,role".encode("utf-16"),
    ],
    ids=range(8),
)
def test_a_header_that_is_wrong_is_told_and_not_quoted(tmp_path: Path, header: str | bytes) -> None:
    raw = header.encode() if isinstance(header, str) else header
    with pytest.raises(BadHeaderError, match=r"email,password,role or email,password,role,name\.$"):
        read(tmp_path, raw + b"\n" + GOOD.encode())
