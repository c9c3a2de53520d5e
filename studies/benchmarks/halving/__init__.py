"""Halving against full trials, simulated on tables of learning curves."""
