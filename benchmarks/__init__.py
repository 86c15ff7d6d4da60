"""Measures speed and memory: one program for each figure. May import everything."""
