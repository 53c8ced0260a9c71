"""Profiles and textual hard negatives, written by a language model."""
