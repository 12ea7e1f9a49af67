"""The prompt policy: what Easel refuses to draw, decided before anything is queued."""

from policy.policy import Policy, Refusal

__all__ = ["Policy", "Refusal"]
