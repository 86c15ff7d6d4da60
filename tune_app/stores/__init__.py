"""Checkpoint stores: a folder, an SSH server's disk or an S3 bucket, given by a URL.

May import nothing else from `tune_app`.
"""
