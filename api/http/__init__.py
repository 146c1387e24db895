"""HTTP: routes, forms, errors, middleware. Everything that knows of requests and responses."""
