"""What shows a sweep in a browser while it runs: the live report, and other tools as processes.

Everything listens on the loopback interface alone.
"""
