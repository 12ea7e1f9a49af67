"""Who may ask for how much: API keys, quotas, and users whose prompts keep being refused."""
