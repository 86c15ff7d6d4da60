"""A study: sweeps in phases, each decided by the one before, and the verdict at their end.

Beside the command lines it may import everything that a sweep may, and the sweep itself.
"""
