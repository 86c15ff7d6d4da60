"""The cluster: machines are rented, joined into one Ray cluster, watched, and given back.

Only `provider` and `autoscaling` import Ray. Which folder may import which is the table in
`tests/tune_app/cloud/test_floors.py`.
"""
