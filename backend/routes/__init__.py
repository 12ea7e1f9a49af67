"""The backend's addresses, one module a family. No logic: read, call the service, answer."""
