"""The audit: money that nobody accounts for. What a record proves is given back, the rest is asked.

Independent of the workflow engine; it asks the payment provider, and believes the records.
"""

from __future__ import annotations

from app.audit.sweep import Audit
from app.audit.undo import undo_without_engine

__all__ = ["Audit", "undo_without_engine"]
