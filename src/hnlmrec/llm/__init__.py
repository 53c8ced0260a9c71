"""Chat clients, their cache, and prompts."""
