"""Store and warehouse in DuckDB files of the home: no server, one process at a time."""
