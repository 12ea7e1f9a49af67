"""The GPU server's settings; `.env.template` beside this file describes each."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from web.settings import POD, PlatformSettings, base_url, on_pod, require_secret_off_loopback
from workflows.folders import node_packs

ENV_FILE = Path(__file__).with_name(".env")


class Settings(PlatformSettings):
    gpu_host: str = "127.0.0.1"
    gpu_port: int = Field(8100, ge=1, le=65535)
    gpu_token: SecretStr = SecretStr("")
    gpu_models_dir: Path = Field(
        default_factory=lambda: POD / "models" if (POD / "models").is_dir() else Path("data/models")
    )
    easel_models_file: Path | None = None
    gpu_max_jobs: int = Field(16, ge=1, le=1000)
    gpu_job_timeout_s: float = Field(180, gt=0, le=604_800)
    gpu_result_ttl_s: float = Field(3600, gt=0, le=31_536_000)
    gpu_encode_workers: int = Field(2, ge=1, le=64)
    gpu_warm_up: bool = False
    gpu_safety_strictness: float = Field(0.0, ge=0, le=1)
    gpu_signing_certificate: Path | None = None
    gpu_signing_key: Path | None = None
    gpu_comfyui_pid_file: Path | None = None
    gpu_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    comfyui_url: str = ""
    comfyui_port: int = Field(8188, ge=1, le=65535)
    comfyui_custom_nodes: Annotated[tuple[str, ...], NoDecode] = ()

    @classmethod
    def own_prefix(cls) -> str:
        return "GPU_"

    @property
    def engine_url(self) -> str:
        return self.comfyui_url or f"http://127.0.0.1:{self.comfyui_port}"

    @property
    def models_file(self) -> Path:
        """Where the entries of a person's own model files are kept."""
        place = POD if on_pod() else self.easel_data_dir
        return self.easel_models_file or place / "models.json"

    @property
    def own_models(self) -> Path | None:
        """The same file, unless it is the default one and does not exist."""
        is_there = self.easel_models_file is not None or self.models_file.exists()
        return self.models_file if is_there else None

    @field_validator("comfyui_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return base_url(value, user=True)

    @field_validator("comfyui_custom_nodes", mode="before")
    @classmethod
    def _are_packs(cls, value: object) -> object:
        return node_packs(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        token = self.gpu_token.get_secret_value()
        require_secret_off_loopback(self.gpu_host, token, "GPU_HOST", "GPU_TOKEN")
        return self


class DownloadSettings(Settings):
    """What fetching model files needs beside; no service holds these tokens."""

    hf_token: SecretStr = SecretStr("")
    hf_endpoint: str = ""
    civitai_token: SecretStr = SecretStr("")

    @field_validator("hf_endpoint")
    @classmethod
    def _is_mirror(cls, value: str) -> str:
        return base_url(value)
