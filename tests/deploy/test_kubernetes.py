"""The rendered manifests match this version of the registry and are hardened."""

import re

import pytest
import yaml

from config.settings import AuthKind, CatalogBackend, StorageKind
from entrypoints.http.probes import ALIVE_PATH, READY_PATH
from tests.support.deployments import DEPLOY, documents, of_kind, parse_documents
from tests.support.kubernetes_links import broken_links
from tests.support.kubernetes_types import problems_of
from tests.support.manifests import SECRETS, Manifests, container_of, load_as_the_pod_would, pod_of, secret_references
from tests.support.tools import REPOSITORY_ROOT

RENDERED = sorted((DEPLOY / "kubernetes").glob("*/registry.yaml"))
MOUNTED = "/etc/registry/config/config.yml"


@pytest.fixture(params=RENDERED, ids=lambda path: path.parent.name)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return documents(request.param)


def test_configuration_is_understood(manifests, tmp_path):
    loaded = load_as_the_pod_would(manifests, tmp_path)
    settings = loaded.settings
    assert loaded.warnings == ()
    assert settings.http.addr == ":5000"
    assert settings.http.secret
    assert settings.http.secret.reveal() == SECRETS["http-secret"]
    assert settings.http.debug.addr == ":5001"
    assert settings.http.debug.prometheus_enabled
    assert settings.http.workers in {1, 2}
    assert settings.audit.stdout
    storage = settings.storage
    match storage.kind:
        case StorageKind.FILESYSTEM:
            assert storage.filesystem.root_directory == "/var/lib/registry"
        case StorageKind.S3:
            assert (storage.s3.bucket, storage.s3.region_endpoint) == ("images", "https://s3.example.com")
        case StorageKind.SCS:
            assert storage.scs.bucket == "images"
            assert settings.catalog.backend is CatalogBackend.MYSQL
            assert settings.redis
            assert settings.redis.addrs == ("redis:6379",)
            assert settings.auth.methods == (AuthKind.HTPASSWD,)
        case _:
            pytest.fail("images must outlive the pod")
    if settings.http.tls:
        [tls] = [each for each in container_of(manifests)["volumeMounts"] if each["name"] == "tls"]
        assert settings.http.tls.certificate == f"{tls['mountPath']}/tls.crt"


def test_probes_match_the_endpoints(manifests, tmp_path):
    container, settings = container_of(manifests), load_as_the_pod_would(manifests, tmp_path).settings
    scheme = "HTTPS" if settings.http.tls else "HTTP"
    for probe, path in (("startupProbe", ALIVE_PATH), ("livenessProbe", ALIVE_PATH), ("readinessProbe", READY_PATH)):
        assert container[probe]["httpGet"] == {"path": path, "port": "registry", "scheme": scheme}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"registry": 5000, "metrics": 5001}


def test_names_and_selectors_lead_to_what_they_mean(manifests):
    assert broken_links(manifests) == []


def test_pod_runs_with_minimal_rights(manifests):
    pod, container = pod_of(manifests), container_of(manifests)
    dockerfile = (REPOSITORY_ROOT / "Dockerfile").read_text()
    user, group = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE).groups()  # type: ignore[union-attr]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (int(user), int(group))
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    writable = [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")]
    assert set(writable) <= {"/tmp", "/var/lib/registry"}  # noqa: S108 - in the container
    assert container["args"] == ["serve"]
    assert {"name": "REGISTRY_CONFIGURATION_PATH", "value": MOUNTED} in container["env"]
    assert MOUNTED.rpartition("/")[0] in [each["mountPath"] for each in container["volumeMounts"]]
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


def test_pod_has_time_to_drain(manifests, tmp_path):
    drain = load_as_the_pod_would(manifests, tmp_path).settings.http.drain_timeout_seconds
    pause = int(container_of(manifests)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod_of(manifests)["terminationGracePeriodSeconds"] >= drain + pause + 10


def test_manifests_have_no_unknown_fields(manifests):
    assert [problem for each in manifests for problem in problems_of(each)] == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("livenessProbe:", "livenessprobe:", "containers[0].livenessprobe: unknown field"),
        ("maxSkew: 1", 'maxSkew: "1"', "topologySpreadConstraints[0].maxSkew: '1' is no number"),
        ("replicas: 3", "replicas: true", "spec.replicas: True is no number"),
        ("pathType: Prefix", "pathType: prefix", "paths[0].pathType: 'prefix' is none of"),
        ("args: [serve]", "args: serve", "containers[0].args: must be a list"),
        ("emptyDir:\n            sizeLimit: 1Gi", "emptyDir: true", "volumes[1].emptyDir: must be a mapping"),
        ("apiVersion: policy/v1", "apiVersion: policy/v1beta1", "policy/v1beta1/PodDisruptionBudget: unknown kind"),
        ("            - name: config\n", "            - x: config\n", "volumeMounts[0].name: is missing"),
        ("  name: registry\n", "  name: registry\n  name: other\n", "repeated keys: ['name']"),
    ],
)
def test_strict_reader_finds_mistakes(old, new, problem):
    texts = [path.read_text() for path in RENDERED]
    [text, *_] = [text.replace(old, new, 1) for text in texts if old in text]
    try:
        found = [each for manifest in parse_documents(text) for each in problems_of(manifest)]
    except yaml.YAMLError as error:
        found = [str(error)]
    assert any(problem in each for each in found), found


def test_manifests_contain_no_secret(manifests):
    """A public secret would be used as it is; pods wait until the operator creates the one that they name."""
    assert {each["kind"] for each in manifests}.isdisjoint({"Secret"})
    references = secret_references(manifests)
    assert {each["name"] for each in references} == {"registry-secrets"}
    assert {each["key"] for each in references} <= set(SECRETS)


def test_scs_set_scales_and_survives_drains():
    manifests = documents(DEPLOY / "kubernetes" / "scs" / "registry.yaml")
    deployment, scaler = of_kind(manifests, "Deployment"), of_kind(manifests, "HorizontalPodAutoscaler")
    assert "replicas" not in deployment["spec"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert container_of(manifests)["resources"]["requests"]["cpu"], "the scaler counts in parts of what is requested"
    budget = of_kind(manifests, "PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    [rule] = of_kind(manifests, "Ingress")["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "registry", "port": {"name": "registry"}}


def test_s3_set_admits_only_named_namespaces():
    policy = of_kind(documents(DEPLOY / "kubernetes" / "s3" / "registry.yaml"), "NetworkPolicy")["spec"]
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == ["registry", "metrics"]
    assert all(rule["from"] for rule in policy["ingress"])


def test_volume_that_one_pod_may_write_to_is_never_shared():
    manifests = documents(DEPLOY / "kubernetes" / "filesystem" / "registry.yaml")
    assert of_kind(manifests, "PersistentVolumeClaim")["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert of_kind(manifests, "Deployment")["spec"]["replicas"] == 1
    assert of_kind(manifests, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
