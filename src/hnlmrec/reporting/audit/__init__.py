"""The audit of a run's negatives, from result files alone: figures, and a browser of its users."""

from hnlmrec.reporting.audit.content import Audit
from hnlmrec.reporting.audit.page import DEFAULT_USERS, write_audit, write_user_audit
from hnlmrec.reporting.audit.words import audit_table, user_text

__all__ = ["DEFAULT_USERS", "Audit", "audit_table", "user_text", "write_audit", "write_user_audit"]
