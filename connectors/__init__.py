"""Connectors: the world to facts, and the bus that carries them."""
