"""What was rented and what it cost, on the disk before it happens. Imports `market`."""
