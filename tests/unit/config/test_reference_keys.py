"""Every key that distribution 2.3, 2.8 or 3 documents is known here, by file and by variable."""

from pathlib import Path

import pytest

from config.environment import apply_environment
from config.files import read_text_file
from config.schema.base import resolve_in
from config.schema.root import RootSchema
from config.spellings import find_unknown, widen_bare
from config.tree import Section, Source
from config.yaml_tree import parse_document

EVERY_KEY = Path(__file__).parent / "every-key.yml"


def test_every_key_of_the_reference_is_known() -> None:
    root, warnings = parse_document(EVERY_KEY.read_text(encoding="utf-8"), origin="config.yml")
    widen_bare(root)
    assert warnings == []
    assert [key.explain() for key in find_unknown(root)] == []


@pytest.mark.parametrize(
    "name",
    [
        "REGISTRY_COMPATIBILITY_SCHEMA1_TRUSTKEY",
        "REGISTRY_LOG_HOOKS_0_MAILOPTIONS_SMTP_ADDR",
        "REGISTRY_HTTP_TLS_LETSENCRYPT_HOSTS_0",
        "REGISTRY_HTTP_TLS_CLIENTCAS_0",
        "REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED",
        "REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR",
        "REGISTRY_STORAGE_AZURE_MAX_RETRIES",
        "REGISTRY_PROXY_EXEC_COMMAND",
        "REGISTRY_POLICY_REPOSITORY_CLASSES",
        "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST_0_OS",
        "REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS_0",
    ],
)
def test_variables_of_the_reference_lead_to_keys(name: str) -> None:
    root = Section(Source(origin="config.yml", line=1))
    findings = apply_environment(root, {name: "x"}, read_file=lambda path: read_text_file(path, bytes_max=10))
    assert (findings.problems, findings.warnings, findings.notes) == ([], [], [])
    assert root


def test_no_other_variable_matches_a_key() -> None:
    root = Section(Source(origin="config.yml", line=1))
    assert resolve_in(RootSchema, ["HTTP", "TLS", "HOSTS"], root) is None
