"""The prompt policy: what Easel refuses to draw. Both services check prompts with it."""

from policy.policy import Policy, Refusal

__all__ = ["Policy", "Refusal"]
