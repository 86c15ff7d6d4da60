"""Ray on the head and on workers: its environment, its start, its end. Imports `overlay`."""
