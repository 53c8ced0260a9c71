"""Recommendations out of trained vectors: for known users, new users and cold items."""
