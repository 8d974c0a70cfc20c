"""The kernel: how a command becomes a durable job and how its outcome is told. It knows no kind."""
