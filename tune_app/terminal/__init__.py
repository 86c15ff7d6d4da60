"""What a person sees in the terminal. Imports the results, and what lies below them."""
