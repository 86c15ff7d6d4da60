"""Classifies failures, purely, and decides what to do about them.

Imports the journal's records, the stores' errors and the machine's limits.
"""
