"""Dashboard and alerts: PromQL that can be parsed, over metrics and labels that there are."""

import json
import os
import re
import unittest

import promql_parser as promql
from rendering import TREE

DASHBOARD = TREE / "deploy/grafana/linkerd-autoregistration.json"
ALERTS = TREE / "deploy/prometheus/alerts.yaml"
RULE = TREE / "deploy/prometheus/prometheusrule.yaml"

# Of the program; that it has them all is for autoregistration/tests/deploy.rs. To them come those of every scrape.
METRICS = {
    "autoregistration_api_available": set(),
    "autoregistration_goaways_total": {"reason"},
    "autoregistration_hellos_total": {"outcome"},
    "autoregistration_leader": set(),
    "autoregistration_mass_loss_active": set(),
    "autoregistration_peer_queries_total": {"outcome"},
    "autoregistration_rate_limited_total": {"limit"},
    "autoregistration_ready_transition_seconds_bucket": {"le"},
    "autoregistration_session_end_total": {"reason"},
    "autoregistration_sessions": {"stage"},
    "autoregistration_sweeps_total": {"outcome"},
    "autoregistration_watch_restarts_total": {"kind"},
    "autoregistration_workloads": {"state"},
    "autoregistration_write_queue_age_seconds": set(),
    "autoregistration_write_queue_depth": set(),
    "autoregistration_writes_total": {"op", "outcome"},
}
SCRAPED = {"job", "instance"}


def queries():
    """Every query with where it is and what its text refers to: `{{label}}`."""
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "5m")
            labels = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            found.append((panel["title"], expression, set(labels)))
    for rule in re.split(r"^  - alert: ", ALERTS.read_text(), flags=re.MULTILINE)[1:]:
        expression = re.search(r"^    expr: '(.+)'$", rule, re.MULTILINE).group(1)
        found.append((rule.split("\n")[0], expression, set(re.findall(r"\$labels\.(\w+)", rule))))
    return found


class Seen(unittest.TestCase):
    def test_every_query_is_promql_over_metrics_and_labels_that_there_are(self):
        seen = set()
        for place, query, shown in queries():
            with self.subTest(place):
                promql.parse(query)
                names = set(re.findall(r"\bautoregistration_\w+", query))
                self.assertTrue(names)
                self.assertLessEqual(names, set(METRICS))
                seen |= names
                known = SCRAPED.union(*(METRICS[name] for name in names))
                used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
                grouped = re.findall(r"\bby \(([^)]*)\)", query)
                kept = {label.strip() for group in grouped for label in group.split(",")}
                self.assertLessEqual(used | kept, known)
                self.assertLessEqual(shown, kept, "a label that the query does not keep")
        self.assertEqual(seen, set(METRICS), "a metric that nobody looks at")

    def test_counters_are_looked_at_by_their_rate_only(self):
        for place, query, _ in queries():
            for name in re.findall(r"\bautoregistration_\w+_(?:total|bucket)\b", query):
                with self.subTest(place):
                    self.assertRegex(query, rf"(rate|increase)\({name}(\{{[^}}]*\}})?\[")

    def test_the_rule_of_the_operator_is_that_of_prometheus(self):
        text = ALERTS.read_text()
        groups = text.partition("groups:\n")[2]
        head = "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: linkerd-autoregistration\n"
        expected = (
            "# Made of alerts.yaml: UPDATE_GOLDEN=1 make chart\n"
            + head
            + "spec:\n  groups:\n"
            + "".join(f"  {line}\n" for line in groups.splitlines())
        )
        if os.environ.get("UPDATE_GOLDEN"):
            RULE.write_text(expected)
        self.assertEqual(RULE.read_text(), expected, "stale: UPDATE_GOLDEN=1 make chart")

    def test_panels_lie_beside_one_another(self):
        taken = set()
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            at = panel["gridPos"]
            for x in range(at["x"], at["x"] + at["w"]):
                for y in range(at["y"], at["y"] + at["h"]):
                    self.assertNotIn((x, y), taken, panel["title"])
                    self.assertLess(x, 24)
                    taken.add((x, y))


if __name__ == "__main__":
    unittest.main()
