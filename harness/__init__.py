"""Decides, without a human at the stopwatch, whether a change to the training core is a gain."""
