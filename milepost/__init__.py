"""The heart of Milepost: identity, stages, attribution, handovers, spend and accounts, as pure functions on frames."""

__version__ = "0.1.0"
