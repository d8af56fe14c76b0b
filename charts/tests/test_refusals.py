"""Values that cannot be meant are refused, with what is wrong."""

import json
import unittest

import helm_python as helm
from rendering import CHART, render

# Values, and what the refusal names.
NONSENSE = [
    ({"replica": 3}, "replica"),
    ({"replicas": 0}, "replicas"),
    ({"replicas": "3"}, "replicas"),
    ({"replicas": 2.5}, "replicas"),
    ({"image": {"repository": ""}}, "repository"),
    ({"image": {"repository": "a@sha256:0"}}, "repository"),
    ({"image": {"tag": "a b"}}, "tag"),
    ({"image": {"digest": "sha256:0123"}}, "digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"image": {"pullSecrets": [{"name": "a"}]}}, "pullSecrets"),
    ({"linkerd": {"namespace": "a.b"}}, "namespace"),
    ({"linkerd": {"namespace": "l" * 64}}, "namespace"),
    ({"linkerd": {"clusterDomain": "cluster..local"}}, "clusterDomain"),
    ({"identity": {"source": "header"}}, "source"),
    ({"identity": {"trustDomain": "spiffe://a"}}, "trustDomain"),
    ({"identity": {"trustDomain": ""}}, "trustDomain"),
    ({"defaultAccess": "allow"}, "defaultAccess"),
    ({"watchNamespaces": "training"}, "watchNamespaces"),
    ({"watchNamespaces": ["a.b"]}, "watchNamespaces"),
    ({"watchNamespaces": [""]}, "watchNamespaces"),
    ({"watchNamespaces": ["a", "a"]}, "watchNamespaces"),
    ({"registration": {"vmNetworks": []}}, "vmNetworks"),
    ({"registration": {"vmNetworks": ["10.0.0.1"]}}, "vmNetworks"),
    ({"registration": {"vmNetworks": ["10.0.0.0/33"]}}, "vmNetworks"),
    ({"registration": {"vmNetworks": ["fd00::/129"]}}, "vmNetworks"),
    ({"registration": {"loadBalancer": {"enabled": "yes"}}}, "enabled"),
    ({"registration": {"loadBalancer": {"annotations": {"internal": True}}}}, "annotations"),
    ({"disconnectGrace": 45}, "disconnectGrace"),
    ({"disconnectGrace": "45"}, "disconnectGrace"),
    ({"disconnectGrace": "0s"}, "disconnectGrace"),
    ({"workloadTtl": "1h30m"}, "workloadTtl"),
    ({"writesPerSecond": 0}, "writesPerSecond"),
    ({"log": {"format": "xml"}}, "format"),
    ({"sidecar": {"skipOutboundPorts": []}}, "skipOutboundPorts"),
    ({"sidecar": {"skipOutboundPorts": ["443"]}}, "skipOutboundPorts"),
    ({"sidecar": {"skipOutboundPorts": [70000]}}, "skipOutboundPorts"),
    ({"sidecar": {"waitBeforeExitSeconds": 60}}, "waitBeforeExitSeconds"),
    ({"sidecar": {"memoryLimit": "lots"}}, "memoryLimit"),
    ({"resources": {"limit": {"memory": "1Gi"}}}, "limit"),
    ({"antiAffinity": "none"}, "antiAffinity"),
    ({"tolerations": [{"keys": "a"}]}, "keys"),
    ({"podAnnotations": {"a": 1}}, "podAnnotations"),
    ({"metrics": {"allowedNetworks": []}}, "allowedNetworks"),
    ({"metrics": {"podMonitor": {"interval": "often"}}}, "interval"),
    ({"networkPolicy": {"enable": True}}, "enable"),
    ({"crds": {"install": "no"}}, "install"),
    # What only the templates can know.
    ({"identity": {"source": "tls"}, "replicas": 1}, "needs identity.tlsSecret"),
    ({"identity": {"source": "tls", "tlsSecret": "a"}}, "one replica only (replicas is 3)"),
    ({"identity": {"tlsSecret": "a"}}, "needs no certificate"),
    ({"registration": {"loadBalancer": {"enabled": True}}}, "then make it public"),
    ({"sidecar": {"skipOutboundPorts": [443, 8082]}}, "port of the other replicas"),
    ({"podAnnotations": {"config.linkerd.io/skip-inbound-ports": "8081"}}, "skip-inbound-ports, which this chart sets"),
    ({"podLabels": {"app.kubernetes.io/name": "other"}}, "is set by this chart itself"),
    ({"commonLabels": {"app.kubernetes.io/name": "other"}}, "is set by this chart itself"),
]


class Refusals(unittest.TestCase):
    def test_nonsense_is_refused_with_what_is_wrong(self):
        for values, words in NONSENSE:
            with self.subTest(json.dumps(values)):
                with self.assertRaises(helm.HelmError) as refused:
                    render(values)
                self.assertIn(words, str(refused.exception))

    def test_a_namespace_without_injection_is_refused_with_another(self):
        for namespace in ["linkerd", "kube-system", "cert-manager"]:
            with self.subTest(namespace):
                with self.assertRaises(helm.HelmError) as refused:
                    render({}, namespace)
                self.assertIn("--namespace linkerd-expansion", str(refused.exception))
        render({"linkerd": {"namespace": "mesh"}}, "linkerd")
        render({"replicas": 1, "identity": {"source": "tls", "tlsSecret": "a"}}, "linkerd")

    def test_the_schema_knows_exactly_the_values_that_there_are(self):
        schema = json.loads((CHART / "values.schema.json").read_text())
        with helm.Chart.load(CHART) as chart:
            values = chart.values
        self.same(schema, values, "")

    def same(self, schema, values, path):
        if "properties" not in schema:
            return
        self.assertIs(schema.get("additionalProperties"), False, path)
        self.assertEqual(set(schema["properties"]) - {"global"}, set(values), path)
        for name, value in values.items():
            if isinstance(value, dict):
                self.same(schema["properties"][name], value, f"{path}.{name}")

    def test_every_value_is_explained(self):
        # A comment above it, or above the block of lines that it belongs to.
        block = []
        for line in (CHART / "values.yaml").read_text().splitlines() + [""]:
            if line.strip():
                block.append(line)
                continue
            explained = any(line.lstrip().startswith("#") for line in block)
            self.assertTrue(explained or not block, "\n".join(block))
            block = []


if __name__ == "__main__":
    unittest.main()
