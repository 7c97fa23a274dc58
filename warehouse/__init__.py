"""The warehouse: store, audits, publication, views."""
