"""What a sweep costs in dollars: bills, each cell's part of them, limits. Pure.

Imports nothing of the project.
"""
