"""What the chart makes of values, word by word. UPDATE_GOLDEN=1 writes the files."""

import difflib
import os
import unittest

from rendering import NAMESPACE, NOTES, TREE, lint, render

GOLDEN = TREE / "charts/tests/golden"
PLAIN = TREE / "deploy/linkerd-autoregistration.yaml"

HEAD = f"""\
# Made of the chart with its default values: UPDATE_GOLDEN=1 make chart
# For a cluster where Linkerd runs in the namespace `linkerd`: kubectl apply --server-side -f linkerd-autoregistration.yaml
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
"""

# Everything that a value can switch, each in some case. A golden holds what is other than with the default values.
CASES = {
    "one-replica": {"replicas": 1},
    "tls": {"replicas": 1, "identity": {"source": "tls", "tlsSecret": "autoregistration-tls"}},
    "load-balancer": {
        "registration": {
            "loadBalancer": {
                "enabled": True,
                "class": "internal.example.com/vpc",
                "annotations": {"service.beta.kubernetes.io/azure-load-balancer-internal": "true"},
                "sourceRanges": ["10.1.0.0/16"],
            },
            "serviceAnnotations": {"example.com/a": "b"},
            "vmNetworks": ["10.1.0.0/16"],
        }
    },
    "network-policy": {"networkPolicy": {"enabled": True}},
    "network-policy-tls": {
        "replicas": 1,
        "identity": {"source": "tls", "tlsSecret": "autoregistration-tls"},
        "networkPolicy": {"enabled": True},
    },
    "pod-monitor": {"metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}},
    "no-crd": {"crds": {"install": False}},
    "another-linkerd": {
        "linkerd": {"namespace": "mesh", "clusterDomain": "example.local", "identityTrustDomain": "example.com"},
        "identity": {"trustDomain": "vms.example.com"},
        "defaultAccess": "deny",
    },
    "watch-namespaces": {"watchNamespaces": ["training", "linkerd-expansion"]},
    "tuned": {
        "image": {
            "repository": "registry.example.com:5000/autoregistration",
            "digest": "sha256:" + "0123456789abcdef" * 4,
            "pullPolicy": "Always",
            "pullSecrets": ["registry"],
        },
        "replicas": 5,
        "disconnectGrace": "2m",
        "workloadTtl": "60m",
        "writesPerSecond": 200,
        "log": {"format": "text", "filter": "warn,autoregistration=debug"},
        "sidecar": {
            "skipOutboundPorts": [443, 16443],
            "cpuRequest": "1",
            "memoryRequest": "1Gi",
            "memoryLimit": "2Gi",
            "waitBeforeExitSeconds": 55,
        },
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "antiAffinity": "required",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}],
        "priorityClassName": "system-cluster-critical",
        "podAnnotations": {"example.com/pod": "yes"},
        "podLabels": {"example.com/pod": "yes"},
        "serviceAccount": {"annotations": {"example.com/account": "yes"}},
    },
    "labels": {"commonLabels": {"example.com/team": "mesh"}, "networkPolicy": {"enabled": True},
               "metrics": {"podMonitor": {"enabled": True}}},
}


def plain(objects):
    """One manifest, without what is Helm's."""
    text = HEAD
    for key, document in objects.items():
        if key != NOTES:
            text += "---\n" + document
    for line in ["app.kubernetes.io/managed-by: Helm", "helm.sh/resource-policy: keep"]:
        text = "".join(kept for kept in text.splitlines(keepends=True) if kept.strip() != line)
    return text.replace("  annotations:\n  name: externalgroups", "  name: externalgroups")


def difference(default, objects):
    """What there is, or is no more, with other values."""
    text = "".join(f"# not there: {' '.join(key)}\n" for key in default if key not in objects)
    for key, document in objects.items():
        if default.get(key) == document:
            continue
        if key == NOTES:
            changed = difflib.ndiff(default[NOTES].splitlines(), document.splitlines())
            lines = [line for line in changed if line.startswith(("+ ", "- "))]
            text += "".join(f"# notes: {line}".rstrip() + "\n" for line in lines)
        else:
            text += "---\n" + document
    return text


class Golden(unittest.TestCase):
    maxDiff = None

    def compare(self, path, text):
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text)
        self.assertTrue(path.exists(), f"{path} is missing: UPDATE_GOLDEN=1 make chart")
        self.assertEqual(path.read_text(), text, f"{path} is stale: UPDATE_GOLDEN=1 make chart")

    def test_the_plain_manifest_and_the_notes_are_those_of_the_default_values(self):
        objects = render({})
        self.compare(PLAIN, plain(objects))
        self.compare(GOLDEN / "notes.txt", objects[NOTES])

    def test_every_case_changes_what_it_should_and_nothing_else(self):
        default = render({})
        for name, values in CASES.items():
            with self.subTest(name):
                text = difference(default, render(values))
                self.assertTrue(text, "these values change nothing")
                self.compare(GOLDEN / f"{name}.yaml", text)

    def test_no_golden_is_left_over(self):
        expected = {f"{name}.yaml" for name in CASES} | {"notes.txt"}
        self.assertEqual({path.name for path in GOLDEN.iterdir()}, expected)

    def test_lint_finds_nothing(self):
        for name, values in {"default": {}, **CASES}.items():
            with self.subTest(name):
                self.assertEqual(lint(values), [])

    def test_a_release_that_goes_leaves_the_definition_and_with_it_the_groups(self):
        definition = next(text for key, text in render({}).items() if key[0] == "CustomResourceDefinition")
        keep = "  annotations:\n    helm.sh/resource-policy: keep\n"
        self.assertEqual(definition.count(keep), 1)
        source = (TREE / "autoregistration/crds/externalgroups.yaml").read_text()
        self.assertEqual(definition.replace(keep, ""), source)


if __name__ == "__main__":
    unittest.main()
