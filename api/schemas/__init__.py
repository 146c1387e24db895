"""The JSON that goes over the wire. Documented fields come first, further ones after them."""
