"""Interactions, embeddings and negatives as tables; readers and preparation of raw data."""
