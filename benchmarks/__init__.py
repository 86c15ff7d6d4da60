"""Speed and memory, measured: each file is one figure. Imports everything."""
