"""The callback receiver: ASGI application, group-commit writer, listener and server thread."""
