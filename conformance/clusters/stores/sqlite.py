"""SQLite: a file of its one user, with no process that a fault could happen to."""

from __future__ import annotations

from conformance.clusters.stores import Store

STORE = Store(environment=lambda at: {"STATE_CONNECTION_STRING": f"{at.folder}/state.db"})
