"""What is said of a study: statistics, tables, pictures and a page, from its result files alone."""
