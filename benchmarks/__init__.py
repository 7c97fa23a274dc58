"""The same work on Milepost and on peers, measured in CPU seconds and compared as ratios."""
