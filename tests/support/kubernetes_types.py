"""A strict reader of Kubernetes objects: unknown fields, wrong kinds of values and missing fields are problems.

The fields are those of the API reference (https://kubernetes.io/docs/reference/kubernetes-api/) for the kinds and the
parts that our manifests use, and of the Prometheus operator for ServiceMonitor. A field that is missing here is not
wrong: add the field when a manifest begins to use it.
"""

from collections.abc import Iterator
from typing import Any

TEXT, NUMBER, SWITCH, ANY = "text", "number", "switch", "any"
PORT = "number or text"
QUANTITY = "number or text"
LABELS = {"*": TEXT}
"""A mapping with keys of the user's choice. `name!` is a required field, a set holds the allowed words."""

_META = {"name!": TEXT, "namespace": TEXT, "labels": LABELS, "annotations": LABELS}
_SELECTOR = {
    "matchLabels": LABELS,
    "matchExpressions": [{"key!": TEXT, "operator!": {"In", "NotIn", "Exists", "DoesNotExist"}, "values": [TEXT]}],
}
_KEY_REFERENCE = {"name!": TEXT, "key!": TEXT, "optional": SWITCH}
_PROBE = {
    "httpGet": {"path": TEXT, "port!": PORT, "scheme": {"HTTP", "HTTPS"}, "host": TEXT},
    "initialDelaySeconds": NUMBER,
    "periodSeconds": NUMBER,
    "timeoutSeconds": NUMBER,
    "failureThreshold": NUMBER,
    "successThreshold": NUMBER,
}
_SECCOMP = {"type!": {"RuntimeDefault", "Unconfined", "Localhost"}, "localhostProfile": TEXT}
_CONTAINER = {
    "name!": TEXT,
    "image": TEXT,
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "command": [TEXT],
    "args": [TEXT],
    "workingDir": TEXT,
    "env": [
        {
            "name!": TEXT,
            "value": TEXT,
            "valueFrom": {"secretKeyRef": _KEY_REFERENCE, "configMapKeyRef": _KEY_REFERENCE},
        }
    ],
    "ports": [{"name": TEXT, "containerPort!": NUMBER, "protocol": {"TCP", "UDP", "SCTP"}}],
    "startupProbe": _PROBE,
    "livenessProbe": _PROBE,
    "readinessProbe": _PROBE,
    "lifecycle": {"preStop": {"exec": {"command": [TEXT]}}, "postStart": {"exec": {"command": [TEXT]}}},
    "resources": {"requests": {"*": QUANTITY}, "limits": {"*": QUANTITY}},
    "securityContext": {
        "allowPrivilegeEscalation": SWITCH,
        "privileged": SWITCH,
        "readOnlyRootFilesystem": SWITCH,
        "runAsNonRoot": SWITCH,
        "runAsUser": NUMBER,
        "runAsGroup": NUMBER,
        "capabilities": {"add": [TEXT], "drop": [TEXT]},
        "seccompProfile": _SECCOMP,
    },
    "volumeMounts": [{"name!": TEXT, "mountPath!": TEXT, "subPath": TEXT, "readOnly": SWITCH}],
}
_FILES = [{"key!": TEXT, "path!": TEXT, "mode": NUMBER}]
_POD = {
    "serviceAccountName": TEXT,
    "automountServiceAccountToken": SWITCH,
    "enableServiceLinks": SWITCH,
    "imagePullSecrets": [{"name!": TEXT}],
    "priorityClassName": TEXT,
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "terminationGracePeriodSeconds": NUMBER,
    "securityContext": {
        "runAsNonRoot": SWITCH,
        "runAsUser": NUMBER,
        "runAsGroup": NUMBER,
        "fsGroup": NUMBER,
        "fsGroupChangePolicy": {"Always", "OnRootMismatch"},
        "seccompProfile": _SECCOMP,
    },
    "containers!": [_CONTAINER],
    "volumes": [
        {
            "name!": TEXT,
            "configMap": {"name": TEXT, "items": _FILES, "defaultMode": NUMBER, "optional": SWITCH},
            "secret": {"secretName": TEXT, "items": _FILES, "defaultMode": NUMBER, "optional": SWITCH},
            "emptyDir": {"sizeLimit": QUANTITY, "medium": TEXT},
            "persistentVolumeClaim": {"claimName!": TEXT, "readOnly": SWITCH},
        }
    ],
    "topologySpreadConstraints": [
        {
            "maxSkew!": NUMBER,
            "topologyKey!": TEXT,
            "whenUnsatisfiable!": {"DoNotSchedule", "ScheduleAnyway"},
            "labelSelector": _SELECTOR,
        }
    ],
    "nodeSelector": LABELS,
    "affinity": {"nodeAffinity": ANY, "podAffinity": ANY, "podAntiAffinity": ANY},
    "tolerations": [
        {"key": TEXT, "operator": {"Exists", "Equal"}, "value": TEXT, "effect": TEXT, "tolerationSeconds": NUMBER}
    ],
}
_PEERS = [
    {"podSelector": _SELECTOR, "namespaceSelector": _SELECTOR, "ipBlock": {"cidr!": TEXT, "except": [TEXT]}},
]
_METRIC_TARGET = {"type!": {"Utilization", "Value", "AverageValue"}, "averageUtilization": NUMBER}
_SCALING_RULES = {
    "stabilizationWindowSeconds": NUMBER,
    "selectPolicy": TEXT,
    "policies": [{"type!": {"Pods", "Percent"}, "value!": NUMBER, "periodSeconds!": NUMBER}],
}
_PATH = {
    "path": TEXT,
    "pathType!": {"Prefix", "Exact", "ImplementationSpecific"},
    "backend!": {"service": {"name!": TEXT, "port": {"name": TEXT, "number": NUMBER}}},
}
KINDS: dict[tuple[str, str], dict[str, Any]] = {
    ("apps/v1", "Deployment"): {
        "spec!": {
            "replicas": NUMBER,
            "selector!": _SELECTOR,
            "strategy": {
                "type": {"Recreate", "RollingUpdate"},
                "rollingUpdate": {"maxUnavailable": PORT, "maxSurge": PORT},
            },
            "template!": {"metadata": {"labels": LABELS, "annotations": LABELS}, "spec!": _POD},
        },
    },
    ("v1", "Pod"): {"spec!": _POD},
    ("v1", "Namespace"): {},
    ("v1", "ConfigMap"): {"data": LABELS},
    ("v1", "Secret"): {"type": TEXT, "stringData": LABELS, "data": LABELS},
    ("v1", "ServiceAccount"): {"automountServiceAccountToken": SWITCH, "imagePullSecrets": [{"name!": TEXT}]},
    ("v1", "Service"): {
        "spec!": {
            "type": {"ClusterIP", "NodePort", "LoadBalancer"},
            "clusterIP": TEXT,
            "selector": LABELS,
            "ports": [{"name": TEXT, "port!": NUMBER, "targetPort": PORT, "nodePort": NUMBER, "protocol": TEXT}],
        },
    },
    ("v1", "PersistentVolumeClaim"): {
        "spec!": {
            "accessModes": [{"ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"}],
            "storageClassName": TEXT,
            "resources": {"requests": {"storage!": QUANTITY}},
        },
    },
    ("policy/v1", "PodDisruptionBudget"): {
        "spec!": {"maxUnavailable": PORT, "minAvailable": PORT, "selector": _SELECTOR},
    },
    ("networking.k8s.io/v1", "NetworkPolicy"): {
        "spec!": {
            "podSelector!": _SELECTOR,
            "policyTypes": [{"Ingress", "Egress"}],
            "ingress": [{"ports": [{"port": PORT, "protocol": {"TCP", "UDP", "SCTP"}}], "from": _PEERS}],
        },
    },
    ("networking.k8s.io/v1", "Ingress"): {
        "spec!": {
            "ingressClassName": TEXT,
            "tls": [{"hosts": [TEXT], "secretName": TEXT}],
            "rules": [
                {
                    "host": TEXT,
                    "http": {"paths!": [_PATH]},
                }
            ],
        },
    },
    ("autoscaling/v2", "HorizontalPodAutoscaler"): {
        "spec!": {
            "scaleTargetRef!": {"apiVersion": TEXT, "kind!": TEXT, "name!": TEXT},
            "minReplicas": NUMBER,
            "maxReplicas!": NUMBER,
            "metrics": [{"type!": {"Resource"}, "resource": {"name!": TEXT, "target!": _METRIC_TARGET}}],
            "behavior": {"scaleDown": _SCALING_RULES, "scaleUp": _SCALING_RULES},
        },
    },
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {
        "spec!": {
            "jobLabel": TEXT,
            "selector!": _SELECTOR,
            "namespaceSelector": {"any": SWITCH, "matchNames": [TEXT]},
            "endpoints!": [{"port": TEXT, "path": TEXT, "interval": TEXT, "scheme": TEXT}],
        },
    },
}
_PYTHON = {TEXT: (str,), NUMBER: (int,), SWITCH: (bool,), PORT: (int, str), ANY: (object,)}


def problems_of(manifest: dict[str, Any]) -> list[str]:
    """Return the problems of an object, each with the path of its field."""
    identity = (str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if identity not in KINDS:
        return [f"{'/'.join(identity)}: unknown kind"]
    fields = {"apiVersion!": TEXT, "kind!": TEXT, "metadata!": _META, **KINDS[identity]}
    name = manifest.get("metadata", {}).get("name")
    return list(_check(manifest, fields, f"{manifest['kind']} {name}"))


def _check(value: Any, expected: Any, path: str) -> Iterator[str]:
    match expected:
        case dict():
            yield from _check_object(value, expected, path)
        case list() if isinstance(value, list):
            for number, item in enumerate(value):
                yield from _check(item, expected[0], f"{path}[{number}]")
        case list():
            yield f"{path}: must be a list"
        case set():
            if value not in expected:
                yield f"{path}: {value!r} is none of {sorted(expected)}"
        case _:
            if not _is(value, expected):
                yield f"{path}: {value!r} is no {expected}"


def _is(value: Any, kind: str) -> bool:
    # In Python, True is a number too.
    is_switch = isinstance(value, bool)
    return isinstance(value, _PYTHON[kind]) and (not is_switch or kind in {SWITCH, ANY})


def _check_object(value: Any, fields: dict[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: must be a mapping"
        return
    known = {name.rstrip("!"): kind for name, kind in fields.items()}
    for name in fields:
        if name.endswith("!") and name.rstrip("!") not in value:
            yield f"{path}.{name.rstrip('!')}: is missing"
    for name, inner in value.items():
        if name in known or "*" in known:
            yield from _check(inner, known.get(name, known.get("*")), f"{path}.{name}")
        else:
            yield f"{path}.{name}: unknown field"
