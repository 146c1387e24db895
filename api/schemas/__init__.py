"""The JSON of the API. Documented fields come first, further ones after them."""
