//! What is deployed fits this program: it takes the arguments of the chart, and has the metrics of the dashboard.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers panic as the test would"
)]

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use autoregistration::args::CommandLine;
use clap::Parser as _;
use serde::Deserialize as _;
use serde_json::Value;

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|its| its == extension) {
            found.push(path);
        }
    }
    found
}

/// The containers of the Deployments that the chart makes with one set of values after the other.
fn containers() -> Vec<(PathBuf, Value)> {
    let mut manifests = files(&tree("charts/tests/golden"), "yaml");
    manifests.push(tree("deploy/linkerd-autoregistration.yaml"));
    let mut found = Vec::new();
    for path in manifests {
        let text = fs::read_to_string(&path).unwrap();
        for document in serde_norway::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).unwrap();
            if object["kind"] == "Deployment" {
                let container = object["spec"]["template"]["spec"]["containers"][0].clone();
                found.push((path.clone(), container));
            }
        }
    }
    found
}

#[test]
fn the_program_takes_the_arguments_and_the_environment_of_the_chart() {
    // As a process of this test cannot set its environment, what the variable stands for is given as a flag.
    let variables = HashMap::from([
        ("POD_NAMESPACE", Some("--namespace=linkerd-expansion")),
        ("POD_NAME", Some("--pod-name=linkerd-autoregistration-0")),
        ("POD_IPS", Some("--pod-ips=10.0.0.1,fd00::1")),
        (autoregistration::logging::VARIABLE, None),
    ]);
    let containers = containers();
    assert!(containers.len() >= 5, "{containers:?}");
    for (path, container) in containers {
        let mut line = vec!["autoregistration".to_owned()];
        for argument in container["args"].as_array().unwrap() {
            line.push(argument.as_str().unwrap().to_owned());
        }
        for variable in container["env"].as_array().unwrap() {
            let flag = variables[variable["name"].as_str().unwrap()];
            line.extend(flag.map(str::to_owned));
        }
        let parsed = CommandLine::try_parse_from(&line);
        parsed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Names that any part of the program gives a metric, as they are written at `register`.
fn registered() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files(&tree("autoregistration/src"), "rs") {
        let text = fs::read_to_string(path).unwrap();
        for rest in text.split(".register(").skip(1) {
            let mut quoted = rest.trim_start().strip_prefix('"').into_iter();
            names.extend(
                quoted
                    .next()
                    .and_then(|rest| rest.split('"').next())
                    .map(str::to_owned),
            );
        }
    }
    names
}

#[test]
fn the_program_has_the_metrics_of_the_dashboard_and_of_the_alerts() {
    let registered = registered();
    assert!(registered.contains("hellos"), "{registered:?}");
    let mut missing = BTreeSet::new();
    let mut seen = 0;
    for file in [
        "deploy/grafana/linkerd-autoregistration.json",
        "deploy/prometheus/alerts.yaml",
        "deploy/prometheus/prometheusrule.yaml",
    ] {
        let text = fs::read_to_string(tree(file)).unwrap();
        serde_norway::from_str::<serde_norway::Value>(&text).unwrap();
        for rest in text.split("autoregistration_").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
            let (name, _) = rest.split_at(end.unwrap_or(rest.len()));
            let name = name.strip_suffix("_total").unwrap_or(name);
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            seen += 1;
            if !registered.contains(name) {
                missing.insert(format!("autoregistration_{name} in {file}"));
            }
        }
    }
    assert!(seen > 30, "{seen}");
    assert!(missing.is_empty(), "nobody registers {missing:#?}");
}
