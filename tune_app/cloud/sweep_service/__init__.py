"""A sweep as a service of the head, which goes on when whoever started it leaves."""
