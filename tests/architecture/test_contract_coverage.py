"""Every adapter of a port runs that port's contract suite."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import adapters
from core.ports.audit_log import AuditLog
from core.ports.authenticator import Authenticator
from core.ports.blob_storage import BlobStorage
from core.ports.catalog_index import CatalogIndex
from core.ports.certificate_authority import CertificateAuthority
from core.ports.image_layout import ImageLayout
from core.ports.redirection import Redirector
from core.ports.spool import Spool
from core.ports.upstream import Upstream

CONTRACT_FILES = sorted((Path(__file__).parents[1] / "contracts").glob("test_*.py"))


def concrete_adapters(port: type) -> set[str]:
    """Names of all classes in `adapters` that can stand for `port`."""
    found: set[str] = set()
    for module in pkgutil.walk_packages(adapters.__path__, "adapters."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(value) and issubclass(value, port) and not inspect.isabstract(value):
                found.add(name)
    return found


def contracted_adapters(contract: str) -> set[str]:
    """Names that the contract's test classes speak of: `TestX(…Contract)` tests `X`."""
    tested: set[str] = set()
    for file in CONTRACT_FILES:
        for node in ast.parse(file.read_text()).body:
            # By ending: a wider suite, as StoredCatalogIndexContract, holds all of the narrower one.
            if isinstance(node, ast.ClassDef) and any(ast.unparse(b).endswith(contract) for b in node.bases):
                tested.add(node.name.removeprefix("Test"))
    return tested


@pytest.mark.parametrize(
    ("port", "contract"),
    [
        (AuditLog, "AuditLogContract"),
        (Authenticator, "AuthenticatorContract"),
        (BlobStorage, "BlobStorageContract"),
        (CatalogIndex, "CatalogIndexContract"),
        (CertificateAuthority, "CertificateAuthorityContract"),
        (ImageLayout, "ImageLayoutContract"),
        (Redirector, "RedirectorContract"),
        (Upstream, "UpstreamContract"),
        (Spool, "SpoolContract"),
    ],
)
def test_every_adapter_runs_contract(port, contract):
    untested = concrete_adapters(port) - contracted_adapters(contract)
    assert untested == set(), f"no class Test…({contract}) for {sorted(untested)}"


def test_coverage_check_finds_adapters():
    """The check above must not pass because it finds nothing."""
    assert "InMemoryBlobStorage" in concrete_adapters(BlobStorage)
    assert "InMemoryBlobStorage" in contracted_adapters("BlobStorageContract")
