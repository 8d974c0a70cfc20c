"""The secrets of a checkout."""

from __future__ import annotations

import json
from pathlib import Path

from local.environment import load_secrets


def test_secrets_are_made_once_for_their_owner_only(tmp_path: Path) -> None:
    made, fresh = load_secrets(tmp_path)
    assert fresh
    assert load_secrets(tmp_path) == (made, False)
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert len(made["carrier_account_sid"]) == 34


def test_secrets_of_an_older_checkout_are_kept_and_added_to(tmp_path: Path) -> None:
    made, _ = load_secrets(tmp_path)
    older = {name: value for name, value in made.items() if not name.startswith("carrier_")}
    (tmp_path / "secrets.json").write_text(json.dumps(older))
    found, fresh = load_secrets(tmp_path)
    assert not fresh
    assert older.items() <= found.items()
    assert set(found) == set(made)
    assert load_secrets(tmp_path) == (found, False)
