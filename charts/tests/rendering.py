"""What Helm makes of the chart."""

import pathlib
import re

import helm_python as helm

TREE = pathlib.Path(__file__).resolve().parents[2]
CHART = TREE / "charts/linkerd-autoregistration"
RELEASE = "linkerd-autoregistration"
NAMESPACE = "linkerd-expansion"
NOTES = "NOTES"

# What `kubectl apply` needs to be there before the rest.
FIRST = [
    "CustomResourceDefinition",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "Server",
    "MeshTLSAuthentication",
    "NetworkAuthentication",
    "AuthorizationPolicy",
]


def lint(values):
    """What `helm lint --strict` finds beyond hints."""
    report = helm.lint(CHART, values, strict=True, namespace=NAMESPACE)
    serious = [message for message in report["messages"] if message["severity"] > 1]
    return serious + report["errors"]


def render(values, namespace=NAMESPACE):
    """The objects by kind, namespace and name, in the order in which they can be applied; the notes last."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(values, name=RELEASE, namespace=namespace)
    objects = []
    notes = None
    for path, text in sorted(files.items()):
        if path.endswith("NOTES.txt"):
            notes = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
            continue
        for document in re.split(r"^---\n", text, flags=re.MULTILINE):
            if document.strip():
                objects.append((_key(document), document.strip() + "\n"))
    objects.sort(key=lambda item: _rank(item[0][0]))
    rendered = dict(objects)
    if len(rendered) != len(objects):
        raise ValueError(f"two objects have one name: {[key for key, _ in objects]}")
    rendered[NOTES] = notes
    return rendered


def _key(document):
    kind = re.search(r"^kind: (\S+)$", document, re.MULTILINE)
    metadata = re.search(r"^metadata:\n((?:  .*\n)+)", document, re.MULTILINE)
    if not kind or not metadata:
        raise ValueError(f"neither nothing nor an object:\n{document}")
    field = {}
    for name in ["namespace", "name"]:
        found = re.search(rf"^  {name}: (\S+)$", metadata.group(1), re.MULTILINE)
        field[name] = found.group(1) if found else ""
    return (kind.group(1), field["namespace"], field["name"])


def _rank(kind):
    return FIRST.index(kind) if kind in FIRST else len(FIRST)
