"""A build that fails says why: the registry does not answer, or has other files than pinned."""

from pathlib import Path

import pytest

from experiments.agents import server_environments
from experiments.agents.server_environments import RegistryUnreachable

HASHES = (
    "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated "
    "the package versions, please update the hashes.\n    Expected sha256 00\n    Got 11\n"
)


@pytest.mark.parametrize(
    ("output", "unreachable"),
    [
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError'",
            True,
        ),
        ("npm error code EAI_AGAIN\nnpm error request failed, reason: getaddrinfo", True),
        (HASHES, False),
        ("npm error code EINTEGRITY\nnpm error sha512-a integrity checksum failed", False),
    ],
)
def test_only_a_registry_that_does_not_answer_is_called_unreachable(
    output: str, unreachable: bool
) -> None:
    error = server_environments._failure("pip", Path("there"), output)
    assert isinstance(error, RegistryUnreachable) == unreachable
    assert ("check the network" in str(error)) == unreachable
