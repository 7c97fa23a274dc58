"""The Beam shells around the heart: ingest and stitch."""
