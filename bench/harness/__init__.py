"""What measurements share: services, a direct client, test photos, timing, simulated pods."""
