"""The tables of the application. They outlive the engine, whose instances are disposable."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Instant(TypeDecorator[datetime]):
    """A point in time, always aware and in UTC; sqlite keeps no zone, so it is put back here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses naive times: nobody could say which hour they mean."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime was given to the store")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Adds the zone that sqlite dropped."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


ID = String(100)
KEY = String(200)

# One row per accepted start: accepted -> scheduled -> ended(outcome).
records = Table(
    "records",
    metadata,
    Column("id", ID, primary_key=True),
    # The engine's name for it: the id, unless the engine can no longer read what it keeps there.
    Column("engine_id", ID, nullable=False),
    Column("kind", String(50), nullable=False),
    # The version of the workflow that its runs take; a second run takes the first one's.
    Column("version", String(20)),
    Column("idempotency_key", KEY),
    Column("request_hash", String(64), nullable=False),
    Column("input", JSON, nullable=False),
    Column("state", String(20), nullable=False),
    Column("status", String(20), nullable=False),
    Column("step", String(100)),
    # A kind of event, an intervention's id, or what else it waits for.
    # Only Postgres holds a length against anybody, and only sqlite would have to copy the table.
    Column("waiting_for", String(100).with_variant(KEY, "postgresql")),
    Column("due_at", Instant),
    Column("direction", String(10), nullable=False),
    Column("refused", Boolean, nullable=False, default=False),
    Column("reason", Text),
    # Behind the pivot: nothing turns it down any more, whatever run it is.
    Column("pivoted", Boolean, nullable=False, default=False),
    Column("outcome", String(50)),
    # What else there is to say of the outcome: who decided, and with which words.
    Column("detail", JSON),
    Column("accepted_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("progress_at", Instant, nullable=False),
    # When something is to be heard of it again, if all is well: the end of an attempt, the next
    # attempt, the next poll, a deadline. Nothing while it waits for a person. Only past that, and
    # some patience, is it late.
    Column("expected_at", Instant),
    Column("claimed_until", Instant),
    # How often its start was refused in a row, so that somebody is told of one that never succeeds.
    Column("start_failures", Integer, nullable=False, default=0),
    # What an operator wants of it, and when that is to be carried to the engine (again); nothing
    # once both agree.
    Column("suspended", Boolean, nullable=False, default=False),
    Column("terminated_by", String(100)),
    Column("control_at", Instant),
    # How often the instance was run again, and when it was woken since it last got anywhere.
    Column("runs", Integer, nullable=False, default=0),
    Column("woken_at", Instant),
    Column("purged", Boolean, nullable=False, default=False),
    UniqueConstraint("kind", "idempotency_key"),
    Index(None, "state", "claimed_until"),
    Index(None, "kind", "status", "id"),
    Index(None, "status", "id"),
    Index(None, "version", "state"),
    Index(None, "state", "suspended", "expected_at"),
    Index(None, "purged", "ended_at"),
    Index(None, "control_at"),
)
# The few whose name in the engine is not their id.
Index(
    "ix_records_renamed",
    records.c.id,
    sqlite_where=records.c.engine_id != records.c.id,
    postgresql_where=records.c.engine_id != records.c.id,
)

# Every event from outside, kept before anybody is told of it. `name` is its source: two providers
# that number their events alike tell of different events.
inbox = Table(
    "inbox",
    metadata,
    Column("instance", ID, ForeignKey("records.id"), primary_key=True),
    Column("name", String(50), primary_key=True),
    Column("event_id", KEY, primary_key=True),
    Column("type", String(100), nullable=False),
    Column("data", JSON, nullable=False),
    Column("body_hash", String(64), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("consumed_by", KEY),
    Column("consumed_at", Instant),
    Column("raises", Integer, nullable=False, default=0),
    Column("next_raise_at", Instant),
    Index(None, "consumed_at", "next_raise_at"),
)

# What an instance waits for. The row is the conditional one that an event and a timer race for.
waits = Table(
    "waits",
    metadata,
    Column("instance", ID, ForeignKey("records.id"), primary_key=True),
    Column("token", KEY, primary_key=True),
    Column("name", String(50), nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("state", String(10), nullable=False),
    Column("event_id", KEY),
)

# Every dispatch of an effect: one that began and never ended took its process down with it.
attempts = Table(
    "attempts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance", ID, nullable=False),
    Column("key", KEY, nullable=False),
    Column("operation", String(100), nullable=False),
    Column("undoes", KEY),
    Column("alone", Boolean, nullable=False),
    # The life of the process that began it: only one that is over has left it unfinished.
    Column("process", String(36)),
    Column("begun_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("result", String(20)),
    Column("error", Text),
    Column("forgiven", Boolean, nullable=False, default=False),
    Index(None, "key"),
    Index(None, "instance"),
    Index(None, "operation", "begun_at"),
    Index(None, "begun_at"),
)

# The lives of our processes. One that was not seen for a while, or whose replica has begun another
# life since, is over, and what it had begun will not be finished by it.
processes = Table(
    "processes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("replica", String(100), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Index(None, "replica", "started_at"),
    Index(None, "seen_at"),
)

interventions = Table(
    "interventions",
    metadata,
    Column("id", KEY, primary_key=True),
    Column("instance", ID, nullable=False),
    Column("key", KEY, nullable=False),
    Column("kind", String(30), nullable=False),
    Column("reason", Text, nullable=False),
    Column("blocking", Boolean, nullable=False),
    Column("opened_at", Instant, nullable=False),
    # When somebody was first told; when somebody is to be told (again), how often that was tried
    # since, how often and when somebody was last reminded, and when it was escalated.
    Column("alerted_at", Instant),
    Column("alert_at", Instant),
    Column("alert_tries", Integer, nullable=False, default=0),
    Column("reminders", Integer, nullable=False, default=0),
    Column("reminded_at", Instant),
    Column("escalated_at", Instant),
    Column("action", String(20)),
    Column("note", Text),
    Column("answered_by", String(100)),
    Column("answered_at", Instant),
    Column("raises", Integer, nullable=False, default=0),
    Column("next_raise_at", Instant),
    Index(None, "instance"),
    Index(None, "action", "opened_at"),
    Index(None, "key"),
    Index(None, "alert_at"),
    Index(None, "next_raise_at"),
    Index(None, "answered_at"),
)

# What is known of a monitored service; `settings` are the updates since it was started.
monitors = Table(
    "monitors",
    metadata,
    Column("id", ID, ForeignKey("records.id"), primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("incident", Integer, nullable=False),
    Column("checked_at", Instant),
    Column("controls", Integer, nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("stopped", Boolean, nullable=False),
    Column("settings", JSON, nullable=False),
    # The incident with which it began to flap, while it does.
    Column("flapping", Integer),
)

# From the first failed check to the first good one; `done` once it is over and all alerts are sent.
incidents = Table(
    "incidents",
    metadata,
    Column("monitor", ID, ForeignKey("records.id"), primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("reason", Text),
    Column("opened_at", Instant, nullable=False),
    Column("critical_at", Instant),
    Column("closed_at", Instant),
    Column("warning_told", Boolean, nullable=False),
    Column("critical_told", Boolean, nullable=False),
    Column("recovery_told", Boolean, nullable=False),
    Column("done", Boolean, nullable=False),
    # The service flapped: its warning and recovery are held back. It began to with this one; and
    # when that was over.
    Column("held", Boolean, nullable=False, default=False),
    Column("flapping", Boolean, nullable=False, default=False),
    Column("flapping_told", Boolean, nullable=False, default=False),
    Column("stable_at", Instant),
    Column("stable_told", Boolean, nullable=False, default=False),
    # When somebody could last not be told of it: it gives way to those that wait longer.
    Column("untold_at", Instant),
    Index(None, "monitor", "done"),
    Index(None, "done", "closed_at"),
)

# Whoever holds a lease does the work that only one replica should do.
leases = Table(
    "leases",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("holder", String(100), nullable=False),
    Column("until", Instant, nullable=False),
)

# How far something that goes through a long list has come, so that it survives whoever went.
cursors = Table(
    "cursors",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("at", Instant),
    Column("after", KEY),
)

# What the audit found that it cannot account for: one row a charge, until somebody can.
findings = Table(
    "findings",
    metadata,
    Column("key", KEY, primary_key=True),
    Column("instance", ID, nullable=False),
    Column("why", Text, nullable=False),
    Column("found_at", Instant, nullable=False),
    # When it is to be looked at again; nothing where that is a person's affair, or over.
    Column("look_at", Instant),
    Column("state", String(20), nullable=False),
    Column("settled_at", Instant),
    Index(None, "state", "key"),
    Index(None, "state", "look_at"),
    Index(None, "state", "settled_at"),
    Index(None, "instance"),
)

# Who did what, and why; decisions and attempts at them. Rows are only ever added.
audit_trail = Table(
    "audit_trail",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance", ID, nullable=False),
    Column("at", Instant, nullable=False),
    Column("who", String(100), nullable=False),
    Column("via", String(10), nullable=False),
    Column("what", String(20), nullable=False),
    Column("verdict", String(100), nullable=False),
    Column("event_id", KEY),
    Column("note", Text),
    Index(None, "instance"),
    Index(None, "at"),
)
