use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use linkerd_harness_core::proxy_env::ALLOWED;

use super::*;

const BEGIN: &str = "<!-- made from autoregistration/src/linkerd/annotations.rs -->\n";
const END: &str = "<!-- end -->\n";

fn table() -> String {
    let mut table = String::from(
        "| annotation | on a namespace too | the VM's proxy | the `ExternalWorkload` |\n|---|---|---|---|\n",
    );
    for annotation in ALL {
        let (proxy, workload) = match annotation.effect {
            Effect::Nothing(why) => (format!("no: {why}"), "–"),
            Effect::Sets(Setting::AdditionalEnv) => {
                ("every variable on the harness's list".into(), "–")
            }
            Effect::Sets(_) => {
                let names = annotation.of_proxy().iter();
                let names: Vec<_> = names
                    .map(|name| format!("`{}`", name.trim_start_matches("LINKERD2_PROXY_")))
                    .collect();
                let names = if names.is_empty() {
                    "–".into()
                } else {
                    names.join(", ")
                };
                (
                    names,
                    if annotation.of_workload() {
                        "yes"
                    } else {
                        "–"
                    },
                )
            }
        };
        let inherited = match annotation.effect {
            Effect::Nothing(_) => "",
            Effect::Sets(_) if annotation.inherited => "yes",
            Effect::Sets(_) => "no",
        };
        writeln!(
            table,
            "| `{}` | {inherited} | {proxy} | {workload} |",
            annotation.name
        )
        .unwrap();
    }
    table
}

#[test]
fn the_documentation_has_the_table_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/annotations.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = format!("{before}{BEGIN}{}{END}{after}", table());
        std::fs::write(&path, text).unwrap();
        return;
    }
    assert_eq!(shown, table(), "refresh with UPDATE_GOLDEN=1");
}

/// Every annotation of Linkerd's Go code, `pkg/k8s/labels.go`, in stable-2.14.10 or in edge-26.8.3, and what the
/// injectors of both read beside it. `config.linkerd.io/admission-webhooks` is not among them: it is a label.
#[test]
fn no_annotation_of_linkerds_is_forgotten() {
    let names: BTreeSet<_> = ALL.iter().map(|annotation| annotation.name).collect();
    assert_eq!(names.len(), ALL.len());
    assert!(ALL.is_sorted_by_key(|annotation| annotation.name));
    let known = include_str!("names.txt").lines().collect::<BTreeSet<_>>();
    assert_eq!(names, known);
}

/// What the injector hands down from a namespace, but for what means nothing on a VM.
#[test]
fn a_namespace_hands_down_what_it_hands_down_to_pods() {
    let own: Vec<_> = ALL
        .iter()
        .filter(|a| matches!(a.effect, Effect::Sets(_)) && !a.inherited)
        .map(|a| a.name)
        .collect();
    assert_eq!(
        own,
        [
            "config.linkerd.io/proxy-cpu-ratio-limit",
            "resource.opentelemetry.io/*"
        ]
    );
    for annotation in ALL.iter().filter(|annotation| annotation.inherited) {
        assert!(
            PREFIXES
                .iter()
                .any(|prefix| annotation.name.starts_with(prefix))
        );
    }
}

#[test]
fn every_variable_is_one_that_the_harness_takes() {
    // Fields of the assignment, which the harness sets itself.
    let fields = [
        "LINKERD2_PROXY_INBOUND_DEFAULT_POLICY",
        "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION",
    ];
    for name in ALL.iter().flat_map(Annotation::of_proxy) {
        let allowed = ALLOWED.iter().any(|(allowed, _)| allowed == name);
        assert!(allowed != fields.contains(name), "{name}");
    }
}
