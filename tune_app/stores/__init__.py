"""Where checkpoints live: a folder, an SSH server's disk or an S3 bucket, named by a URL."""
