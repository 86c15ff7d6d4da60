"""Rents one machine for minutes and compares the live market with what is assumed of it.

Imports `errors`, `market`, `renting` and `vast`.
"""
