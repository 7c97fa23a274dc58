"""A simulated market: source files as real systems would export them, and the truth behind them."""

from milepost.simulate.market import SimulationSummary, simulate
from milepost.simulate.quality import Quality, pairwise_quality, stitching_quality

__all__ = ["Quality", "SimulationSummary", "pairwise_quality", "simulate", "stitching_quality"]
