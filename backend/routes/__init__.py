"""The backend's routes, a module a family; included by `main`. Read, call the service, answer."""
