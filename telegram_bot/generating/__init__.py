"""A generation from the request to the delivered picture. Flows start one; no flow is imported."""
