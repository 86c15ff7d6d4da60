"""What Ray's autoscaler asks of the cloud, told to the daemon. Imports the daemon's client."""
