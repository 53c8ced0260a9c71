"""Full-ranking evaluation, metrics and significance tests."""
