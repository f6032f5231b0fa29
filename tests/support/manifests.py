"""The parts of the registry's Kubernetes manifests, and its configuration as a pod would load it."""

from pathlib import Path
from typing import Any

from config.loaded import Loaded
from config.loader import load
from tests.support.deployments import of_kind

SECRETS = {
    "http-secret": "what an operator made with openssl",
    "access-key": "an-access-key",
    "secret-key": "a-secret-key",
    "mysql-dsn": "registry:password@tcp(mariadb:3306)/registry",
    "redis-password": "a-password",
}
"""The content of the Secret that an operator creates."""

Manifests = list[dict[str, Any]]


def pod_of(manifests: Manifests) -> dict[str, Any]:
    """Return the pod of the deployment."""
    pod: dict[str, Any] = of_kind(manifests, "Deployment")["spec"]["template"]["spec"]
    return pod


def container_of(manifests: Manifests) -> dict[str, Any]:
    """Return the only container of the deployment."""
    containers: list[dict[str, Any]] = pod_of(manifests)["containers"]
    [container] = containers
    return container


def secret_references(manifests: Manifests) -> list[dict[str, Any]]:
    """Return the keys of Secrets from which the container gets variables."""
    sources = [variable.get("valueFrom", {}) for variable in container_of(manifests)["env"]]
    return [source["secretKeyRef"] for source in sources if "secretKeyRef" in source]


def variables_of(manifests: Manifests) -> dict[str, str]:
    """Return the variables of the container, with the content of `SECRETS`."""
    variables = {}
    for variable in container_of(manifests)["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        variables[variable["name"]] = SECRETS[reference["key"]] if reference else variable["value"]
    return variables


def load_as_the_pod_would(manifests: Manifests, folder: Path) -> Loaded:
    """Load the configuration of the ConfigMap with the variables of the container."""
    path = folder / "config.yml"
    path.write_text(of_kind(manifests, "ConfigMap")["data"]["config.yml"])
    return load(str(path), environ=variables_of(manifests))
