"""Files as sources: found, known by their content, and read in bounded batches."""
