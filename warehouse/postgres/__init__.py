"""Store and warehouse in a PostgreSQL database: one transaction for both, and readers that are never blocked."""
