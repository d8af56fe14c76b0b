//! What the mesh sets beyond what we ask it for.

use proptest::prelude::*;

use super::*;

fn with_extra(extra: &[(&str, &str)]) -> Environment {
    with_assignment(|assignment| {
        let owned = extra
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        assignment.proxy.extra_env = owned.collect();
    })
    .unwrap()
}

#[test]
fn names_that_break_a_vm_never_appear() {
    let environment = with_extra(&[
        ("LINKERD2_PROXY_IDENTITY_LOCAL_NAME", "a.b"),
        ("LINKERD2_PROXY_IDENTITY_DISABLED", "true"),
        ("LINKERD2_PROXY_ADMIN_LISTEN_ADDR", "0.0.0.0:4191"),
        ("LINKERD2_PROXY_TAP_SVC_NAME", "tap.linkerd"),
        ("LINKERD2_PROXY_TRACE_ATTRIBUTES_PATH", "/etc/shadow"),
        ("LD_PRELOAD", "/tmp/x.so"),
    ]);
    let unchanged = make(&mk_config(), &mk_assignment()).unwrap();
    assert_eq!(environment.variables, unchanged.variables);
    assert_eq!(environment.ignored.len(), 6);
    assert!(
        environment
            .ignored
            .iter()
            .all(|ignored| ignored.why == Why::NotAllowed)
    );
}

#[test]
fn the_mesh_tunes_what_annotations_tune() {
    let environment = with_extra(&[
        ("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "3s"),
        ("LINKERD2_PROXY_CORES", "2"),
        ("LINKERD2_PROXY_ACCESS_LOG", "json"),
        ("LINKERD2_PROXY_LOG", "warn,linkerd=debug"),
    ]);
    assert_eq!(environment.ignored, []);
    let variables = environment.variables;
    assert_eq!(variables["LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT"], "3s");
    assert_eq!(variables["LINKERD2_PROXY_CORES"], "2");
    assert_eq!(variables["LINKERD2_PROXY_ACCESS_LOG"], "json");
    assert_eq!(
        variables["LINKERD2_PROXY_LOG"],
        "warn,linkerd=debug,[{headers}]=off,[{request}]=off"
    );
}

#[test]
fn settings_that_the_proxy_cannot_read_are_left_out_and_reported() {
    let environment = with_extra(&[
        ("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT", "1.5s"),
        ("LINKERD2_PROXY_INBOUND_DETECT_TIMEOUT", "30"),
        ("LINKERD2_PROXY_CORES", "0"),
        ("LINKERD2_PROXY_ACCESS_LOG", "yes"),
    ]);
    assert_eq!(environment.ignored.len(), 4);
    assert_eq!(environment.variables, with_extra(&[]).variables);
    assert!(
        environment
            .ignored
            .iter()
            .all(|i| matches!(i.why, Why::NotReadable(_)))
    );
}

#[test]
fn stream_limits_out_of_order_are_left_out_together() {
    let environment = with_extra(&[
        ("LINKERD2_PROXY_CONTROL_STREAM_INITIAL_TIMEOUT", "10m"),
        ("LINKERD2_PROXY_CONTROL_STREAM_LIFETIME", "2h"),
    ]);
    assert_eq!(environment.variables, with_extra(&[]).variables);
    assert_eq!(environment.ignored.len(), 2);
}

#[test]
fn a_trace_collector_needs_its_name_unless_it_is_local() {
    let (addr, name) = (
        "LINKERD2_PROXY_TRACE_COLLECTOR_SVC_ADDR",
        "LINKERD2_PROXY_TRACE_COLLECTOR_SVC_NAME",
    );
    let remote = (addr, "collector.linkerd-jaeger:4317");
    assert_eq!(with_extra(&[remote]).ignored[0].why, Why::Inconsistent);
    assert_eq!(
        with_extra(&[(name, "collector.linkerd")]).ignored[0].why,
        Why::Inconsistent
    );
    assert_eq!(with_extra(&[(addr, "127.0.0.1:4317")]).ignored, []);
    assert_eq!(
        with_extra(&[remote, (name, "collector.linkerd")]).ignored,
        []
    );
}

proptest! {
    #[test]
    fn no_setting_of_the_mesh_makes_the_environment_unreadable(
        names in proptest::collection::vec(0..ALLOWED.len(), 0..20),
        values in proptest::collection::vec("[ 0-9a-z:.,=-]{0,12}", 20),
    ) {
        let extra: Vec<(&str, &str)> =
            names.iter().zip(&values).map(|(name, value)| (ALLOWED[*name].0, value.as_str())).collect();
        let environment = with_extra(&extra);
        for (name, grammar) in ALLOWED {
            if let Some(value) = environment.variables.get(*name) {
                prop_assert!(grammar.accepts(value), "{}={}", name, value);
            }
        }
    }
}
