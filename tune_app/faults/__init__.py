"""What a failure is and what is done about it: pure decisions. Imports the journal's records."""
