"""Measurements of speed, run by hand; `make bench-methods` runs those of the methods."""
