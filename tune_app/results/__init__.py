"""What a person looks at after a sweep: tables, plots, the report, mirrors in other tools.

Everything here is drawn from the journal alone. Imports the journal, plan and stopping. Matplotlib,
Arrow and Optuna take a second to import: who only asks for a sweep's status does not load them.
"""
