"""The application, as one that takes long to import, as any does on a machine that is busy."""

from __future__ import annotations

import time

from flask import Flask

SECONDS = 4


def create_app() -> Flask:
    from api.app import create_app as make

    time.sleep(SECONDS)
    return make()
