"""Studies: grids of runs from one file, with search, statistics, tables and pictures."""
