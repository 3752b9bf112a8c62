"""What hours, thousands and replicas need: expectations, versions, lives, findings, cursors."""

import sqlalchemy as sa
from alembic import op

from store.schema import Instant

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds columns, tables and indexes; an event's identity gets its source."""
    # Never a copy: sqlite could not drop the table that others refer to.
    with op.batch_alter_table("records", recreate="never") as records:
        records.add_column(sa.Column("version", sa.String(length=20), nullable=True))
        records.add_column(sa.Column("expected_at", Instant(), nullable=True))
        records.add_column(
            sa.Column("start_failures", sa.Integer(), nullable=False, server_default="0")
        )
        records.add_column(
            sa.Column("pivoted", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        records.add_column(sa.Column("detail", sa.JSON(), nullable=True))
        records.create_index(op.f("ix_records_status_id"), ["status", "id"])
        records.create_index(op.f("ix_records_version_state"), ["version", "state"])
        records.create_index(
            op.f("ix_records_state_suspended_expected_at"), ["state", "suspended", "expected_at"]
        )
        records.create_index(op.f("ix_records_purged_ended_at"), ["purged", "ended_at"])
        records.add_column(sa.Column("terminated_by", sa.String(length=100), nullable=True))
        records.add_column(sa.Column("control_at", Instant(), nullable=True))
        records.create_index(op.f("ix_records_control_at"), ["control_at"])
    if op.get_bind().dialect.name == "postgresql":
        # sqlite could only do so by copying the table, away from under all that refers to it.
        op.alter_column(
            "records",
            "waiting_for",
            existing_type=sa.String(length=100),
            type_=sa.String(length=200),
        )
    renamed = sa.text("engine_id != id")
    op.create_index(
        "ix_records_renamed", "records", ["id"], sqlite_where=renamed, postgresql_where=renamed
    )
    op.execute("UPDATE records SET claimed_until = accepted_at WHERE claimed_until IS NULL")
    # What was under way before this is expected when it waits for, or else by now.
    op.execute("UPDATE records SET expected_at = COALESCE(due_at, progress_at)")
    op.execute("UPDATE records SET expected_at = NULL WHERE status IN ('PARKED', 'ENDED')")
    with op.batch_alter_table("attempts") as attempts:
        attempts.add_column(sa.Column("process", sa.String(length=36), nullable=True))
        attempts.create_index(op.f("ix_attempts_operation_begun_at"), ["operation", "begun_at"])
        attempts.create_index(op.f("ix_attempts_begun_at"), ["begun_at"])
    with op.batch_alter_table("interventions") as interventions:
        interventions.add_column(sa.Column("alert_at", Instant(), nullable=True))
        interventions.add_column(
            sa.Column("alert_tries", sa.Integer(), nullable=False, server_default="0")
        )
        interventions.add_column(
            sa.Column("reminders", sa.Integer(), nullable=False, server_default="0")
        )
        interventions.add_column(sa.Column("reminded_at", Instant(), nullable=True))
        interventions.add_column(sa.Column("escalated_at", Instant(), nullable=True))
        interventions.create_index(op.f("ix_interventions_key"), ["key"])
        interventions.create_index(op.f("ix_interventions_alert_at"), ["alert_at"])
        interventions.create_index(op.f("ix_interventions_next_raise_at"), ["next_raise_at"])
        interventions.create_index(op.f("ix_interventions_answered_at"), ["answered_at"])
    op.execute("UPDATE interventions SET alert_at = opened_at WHERE action IS NULL")
    # Nobody reads the answer to one that blocks nobody.
    op.execute("UPDATE interventions SET next_raise_at = NULL WHERE NOT blocking")
    with op.batch_alter_table("monitors") as monitors:
        monitors.add_column(sa.Column("flapping", sa.Integer(), nullable=True))
    with op.batch_alter_table("incidents") as incidents:
        for name in ("held", "flapping", "flapping_told", "stable_told"):
            incidents.add_column(
                sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())
            )
        incidents.add_column(sa.Column("stable_at", Instant(), nullable=True))
        incidents.add_column(sa.Column("untold_at", Instant(), nullable=True))
        incidents.create_index(op.f("ix_incidents_done_closed_at"), ["done", "closed_at"])
    with op.batch_alter_table("audit_trail") as trail:
        trail.add_column(sa.Column("note", sa.Text(), nullable=True))
        trail.create_index(op.f("ix_audit_trail_at"), ["at"])
    _give_events_their_source()
    op.create_table(
        "processes",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("replica", sa.String(length=100), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processes")),
    )
    op.create_index(op.f("ix_processes_replica_started_at"), "processes", ["replica", "started_at"])
    op.create_index(op.f("ix_processes_seen_at"), "processes", ["seen_at"])
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("at", Instant(), nullable=True),
        sa.Column("after", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cursors")),
    )
    op.create_table(
        "findings",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("instance", sa.String(length=100), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("found_at", Instant(), nullable=False),
        sa.Column("look_at", Instant(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("settled_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_findings")),
    )
    op.create_index(op.f("ix_findings_instance"), "findings", ["instance"])
    op.create_index(op.f("ix_findings_state_key"), "findings", ["state", "key"])
    op.create_index(op.f("ix_findings_state_look_at"), "findings", ["state", "look_at"])
    op.create_index(op.f("ix_findings_state_settled_at"), "findings", ["state", "settled_at"])


def _give_events_their_source() -> None:
    # sqlite cannot change a primary key in place, and a copy serves both databases.
    op.drop_index(op.f("ix_inbox_consumed_at_next_raise_at"), table_name="inbox")
    op.rename_table("inbox", "inbox_before")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE inbox_before RENAME CONSTRAINT pk_inbox TO pk_inbox_before")
    op.create_table(
        "inbox",
        sa.Column("instance", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("type", sa.String(length=100), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("body_hash", sa.String(length=64), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("consumed_by", sa.String(length=200), nullable=True),
        sa.Column("consumed_at", Instant(), nullable=True),
        sa.Column("raises", sa.Integer(), nullable=False),
        sa.Column("next_raise_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["instance"], ["records.id"], name=op.f("fk_inbox_instance")),
        sa.PrimaryKeyConstraint("instance", "name", "event_id", name=op.f("pk_inbox")),
    )
    columns = (
        "instance, name, event_id, type, data, body_hash, received_at, consumed_by, consumed_at, "
        "raises, next_raise_at"
    )
    op.execute(f"INSERT INTO inbox ({columns}) SELECT {columns} FROM inbox_before")
    op.drop_table("inbox_before")
    # Only what somebody is still to be told of has a time at which it is due.
    op.execute("UPDATE inbox SET next_raise_at = NULL WHERE consumed_at IS NOT NULL")
    op.create_index(
        op.f("ix_inbox_consumed_at_next_raise_at"), "inbox", ["consumed_at", "next_raise_at"]
    )


def downgrade() -> None:
    """There is no way back: an event's identity cannot lose its source again."""
    raise NotImplementedError("restore a backup from before the upgrade")
