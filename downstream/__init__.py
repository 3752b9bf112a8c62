"""The witness: a scriptable provider of idempotent operations, and its append-only ledger.

What it offers is declared in TOML, how it misbehaves is scripted over HTTP, and what it has done
is on disk before it is answered. It imports nothing of the application that it serves, so any
other application can be put in front of it.
"""
