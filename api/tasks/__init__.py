"""Tasks and renders, and the database that holds them."""
