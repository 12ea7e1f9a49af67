"""API keys, quotas, and throttling of users whose prompts are refused; for service and routes."""
