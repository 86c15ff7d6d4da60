"""Keys and tokens: read, held, and sent only where they may go. Imports nothing above it."""
