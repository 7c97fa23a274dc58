"""What goes wrong with the parts of one machine."""

from __future__ import annotations


class PartError(Exception):
    """A part can't be had, started or stopped; the message names it and the remedy."""
