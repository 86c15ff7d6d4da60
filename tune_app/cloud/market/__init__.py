"""What renting needs of any place that rents machines: the protocol, its records, its labels.

Imports nothing of the project.
"""
