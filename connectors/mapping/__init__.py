"""Mappings: one SELECT in DuckDB that makes facts of raw records."""
