"""A server at Hetzner: ordered, found, given a host key, deleted. Imports `secrets`."""
