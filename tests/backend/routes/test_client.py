"""The client takes a request as the model that the API documents, or as plain fields."""

import uuid

import pytest

from backend.client import BackendClient
from backend.schemas import GenerationRequest
from tests.backend.conftest import ALICE
from web.errors import Conflict


async def test_a_model_and_the_same_plain_fields_are_one_request(backend_url: str) -> None:
    fields = {"mode": "tiny", "prompt": "a lake", "steps": 1, "user": "client"}
    one = uuid.uuid4()
    client = BackendClient.at(backend_url, ALICE)
    try:
        accepted = await client.put(one, GenerationRequest.model_validate(fields))
        again = await client.put(one, fields)
        assert again.id == accepted.id == one
        assert again.seed == accepted.seed
        with pytest.raises(Conflict):
            await client.put(one, GenerationRequest.model_validate(fields | {"steps": 2}))
    finally:
        await client.close()
