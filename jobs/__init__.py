"""What can be done: one declaration per kind of job."""

from __future__ import annotations

from importlib import import_module

DOMAINS = ("orders", "calls", "call_reports", "tasks", "task_batch", "overdue", "events", "users", "upkeep")


def load() -> None:
    """Import every domain file, so that every kind is declared. Raises DeclarationError for a wrong one."""
    for name in DOMAINS:
        import_module(f"jobs.{name}")
