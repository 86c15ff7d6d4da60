"""The truth of a sweep in one SQLite file: records in, records out. Imports the plan and,
for what they report, `model.parts`.
"""
