"""Connectors: from the world to facts (files, mappings, keys, the contract check), and the bus that carries facts."""
