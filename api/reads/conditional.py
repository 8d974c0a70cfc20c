"""Single resources, and conditional reads: what the client already has is not sent again (RFC 9110 §13.1.2)."""

from __future__ import annotations

from flask import Response, g, request

from api.complete import Complete


def tagged(body: bytes, tag: str) -> Response:
    """The answer with a JSON body and its strong entity tag; 304 when `If-None-Match` names it or is `*`.

    tag: without quotes. The comparison is the weak one, as the RFC asks for If-None-Match. What is behind the answer is there
    to be kept (`api.cache`).
    """
    g.tagged = tag, body
    named = (("ETag", f'"{tag}"'),)
    if "HTTP_IF_NONE_MATCH" in request.environ and request.if_none_match.contains_weak(tag):
        response = Response(status=304, headers=named)
        del response.headers["Content-Type"]
        return response
    return Complete(body, 200, named, content_type="application/json")
