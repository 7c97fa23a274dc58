"""A simulated market: source files as real systems would export them, and the truth behind them."""
