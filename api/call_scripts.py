"""What somebody hears who is called: sentences, by the workflow of the call."""

from __future__ import annotations

LONGEST = 100
"""Characters of a name that are spoken."""

SCRIPTS = {
    "support": (
        "Hello, {name}. This is the support team, about the request that you sent us.",
        "We have looked into it, and will write to you with what we found. Thank you for your patience. Goodbye.",
    ),
    "sales": (
        "Hello, {name}. Thank you for your interest in our services.",
        "You will find our offer in your mail. Reply to it whenever it suits you. Goodbye.",
    ),
    "reminder": (
        "Hello, {name}. We are calling to remind you of your appointment with us.",
        "Please let us know in good time if you cannot keep it. Goodbye.",
    ),
}
FALLBACK = ("Hello. Thank you for taking our call. We will be in touch with you soon. Goodbye.",)
"""Where nobody can tell which call it is."""


def sentences(workflow: str, name: str) -> tuple[str, ...]:
    """What is said to the customer of this name, as plain text. Characters that cannot be spoken, most of which XML cannot
    hold either, are left out."""
    spoken = "".join(letter for letter in name if letter.isprintable())[:LONGEST].strip()
    return tuple(sentence.format(name=spoken or "there") for sentence in SCRIPTS.get(workflow, FALLBACK))
