"""The safety check of images: detector, gate and guard.

Only `gpu_server`'s service, jobs, health and wiring import it, and `bench`.
"""
