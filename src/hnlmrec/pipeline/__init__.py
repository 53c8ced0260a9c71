"""The stages from a raw data set to a report, and the graph they form."""
