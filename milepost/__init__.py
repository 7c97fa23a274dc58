"""The heart of Milepost: pure functions from frames of facts to frames of tables."""

__version__ = "0.1.0"
