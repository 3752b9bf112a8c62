"""The first tables."""

import sqlalchemy as sa
from alembic import op

from store.schema import Instant

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("instance", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("operation", sa.String(length=100), nullable=False),
        sa.Column("undoes", sa.String(length=200), nullable=True),
        sa.Column("alone", sa.Boolean(), nullable=False),
        sa.Column("begun_at", Instant(), nullable=False),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("result", sa.String(length=20), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("forgiven", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index(op.f("ix_attempts_instance"), "attempts", ["instance"], unique=False)
    op.create_index(op.f("ix_attempts_key"), "attempts", ["key"], unique=False)
    op.create_table(
        "audit_trail",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("instance", sa.String(length=100), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("via", sa.String(length=10), nullable=False),
        sa.Column("what", sa.String(length=20), nullable=False),
        sa.Column("verdict", sa.String(length=100), nullable=False),
        sa.Column("event_id", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_trail")),
    )
    op.create_index(op.f("ix_audit_trail_instance"), "audit_trail", ["instance"], unique=False)
    op.create_table(
        "interventions",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("instance", sa.String(length=100), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("blocking", sa.Boolean(), nullable=False),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("alerted_at", Instant(), nullable=True),
        sa.Column("action", sa.String(length=20), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("answered_by", sa.String(length=100), nullable=True),
        sa.Column("answered_at", Instant(), nullable=True),
        sa.Column("raises", sa.Integer(), nullable=False),
        sa.Column("next_raise_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_interventions")),
    )
    op.create_index(
        op.f("ix_interventions_action_opened_at"),
        "interventions",
        ["action", "opened_at"],
        unique=False,
    )
    op.create_index(op.f("ix_interventions_instance"), "interventions", ["instance"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("holder", sa.String(length=100), nullable=False),
        sa.Column("until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "records",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("engine_id", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=50), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("input", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("step", sa.String(length=100), nullable=True),
        sa.Column("waiting_for", sa.String(length=100), nullable=True),
        sa.Column("due_at", Instant(), nullable=True),
        sa.Column("direction", sa.String(length=10), nullable=False),
        sa.Column("refused", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("outcome", sa.String(length=50), nullable=True),
        sa.Column("accepted_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("progress_at", Instant(), nullable=False),
        sa.Column("claimed_until", Instant(), nullable=True),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("woken_at", Instant(), nullable=True),
        sa.Column("purged", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_records")),
        sa.UniqueConstraint(
            "kind", "idempotency_key", name=op.f("uq_records_kind_idempotency_key")
        ),
    )
    op.create_index(
        op.f("ix_records_kind_status_id"), "records", ["kind", "status", "id"], unique=False
    )
    op.create_index(
        op.f("ix_records_state_claimed_until"), "records", ["state", "claimed_until"], unique=False
    )
    op.create_table(
        "inbox",
        sa.Column("instance", sa.String(length=100), nullable=False),
        sa.Column("event_id", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("type", sa.String(length=100), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("body_hash", sa.String(length=64), nullable=False),
        sa.Column("received_at", Instant(), nullable=False),
        sa.Column("consumed_by", sa.String(length=200), nullable=True),
        sa.Column("consumed_at", Instant(), nullable=True),
        sa.Column("raises", sa.Integer(), nullable=False),
        sa.Column("next_raise_at", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["instance"], ["records.id"], name=op.f("fk_inbox_instance")),
        sa.PrimaryKeyConstraint("instance", "event_id", name=op.f("pk_inbox")),
    )
    op.create_index(
        op.f("ix_inbox_consumed_at_next_raise_at"),
        "inbox",
        ["consumed_at", "next_raise_at"],
        unique=False,
    )
    op.create_table(
        "incidents",
        sa.Column("monitor", sa.String(length=100), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("opened_at", Instant(), nullable=False),
        sa.Column("critical_at", Instant(), nullable=True),
        sa.Column("closed_at", Instant(), nullable=True),
        sa.Column("warning_told", sa.Boolean(), nullable=False),
        sa.Column("critical_told", sa.Boolean(), nullable=False),
        sa.Column("recovery_told", sa.Boolean(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["monitor"], ["records.id"], name=op.f("fk_incidents_monitor")),
        sa.PrimaryKeyConstraint("monitor", "n", name=op.f("pk_incidents")),
    )
    op.create_index(
        op.f("ix_incidents_monitor_done"), "incidents", ["monitor", "done"], unique=False
    )
    op.create_table(
        "monitors",
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("incident", sa.Integer(), nullable=False),
        sa.Column("checked_at", Instant(), nullable=True),
        sa.Column("controls", sa.Integer(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("stopped", sa.Boolean(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["id"], ["records.id"], name=op.f("fk_monitors_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_monitors")),
    )
    op.create_table(
        "waits",
        sa.Column("instance", sa.String(length=100), nullable=False),
        sa.Column("token", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("due_at", Instant(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("event_id", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["instance"], ["records.id"], name=op.f("fk_waits_instance")),
        sa.PrimaryKeyConstraint("instance", "token", name=op.f("pk_waits")),
    )


def downgrade() -> None:
    """Drops them."""
    op.drop_table("waits")
    op.drop_table("monitors")
    op.drop_index(op.f("ix_incidents_monitor_done"), table_name="incidents")
    op.drop_table("incidents")
    op.drop_index(op.f("ix_inbox_consumed_at_next_raise_at"), table_name="inbox")
    op.drop_table("inbox")
    op.drop_index(op.f("ix_records_state_claimed_until"), table_name="records")
    op.drop_index(op.f("ix_records_kind_status_id"), table_name="records")
    op.drop_table("records")
    op.drop_table("leases")
    op.drop_index(op.f("ix_interventions_instance"), table_name="interventions")
    op.drop_index(op.f("ix_interventions_action_opened_at"), table_name="interventions")
    op.drop_table("interventions")
    op.drop_index(op.f("ix_audit_trail_instance"), table_name="audit_trail")
    op.drop_table("audit_trail")
    op.drop_index(op.f("ix_attempts_key"), table_name="attempts")
    op.drop_index(op.f("ix_attempts_instance"), table_name="attempts")
    op.drop_table("attempts")
