"""What a `cluster.yaml` says, checked and typed. Imports the settings of renting and overlay."""
