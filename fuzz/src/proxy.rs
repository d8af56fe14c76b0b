//! What Linkerd's proxy says: its metrics and its log.

use std::time::Duration;

use linkerd_harness::proxy::fuzzing;
use linkerd_harness_core::truth::{Metrics, Observation, Scan, judge};

use crate::{Target, text};

pub(crate) const METRICS: Target = Target {
    name: "proxy_metrics",
    run: metrics,
    seeds: || vec![PAGE.into()],
};

pub(crate) const LOG: Target = Target {
    name: "proxy_log",
    run: |input| {
        fuzzing::log(&text(input));
        true
    },
    seeds: || vec![LINES.into()],
};

/// However the page is cut on its way, it says the same.
fn metrics(input: &[u8]) -> bool {
    let scan = |piece: usize| -> Metrics {
        let mut scan = Scan::default();
        for piece in input.chunks(piece) {
            scan.feed(piece);
        }
        scan.finish()
    };
    let whole = scan(input.len().max(1));
    for piece in [1, 7] {
        assert_eq!(scan(piece), whole, "in pieces of {piece}");
    }
    let found = whole != Metrics::default();
    for ready in [None, Some(200), Some(403), Some(503)] {
        let seen = Observation {
            ready,
            metrics: Some(whole.clone()),
            listening: true,
            said_certified: true,
        };
        let verdict = judge(&seen, Duration::from_secs(1));
        assert!(verdict.serves() || !verdict.reaches_control_plane());
    }
    found
}

const PAGE: &str = "# HELP control_identity_cert_refreshes_total x\n\
    control_identity_cert_refreshes_total{result=\"ok\"} 2\n\
    control_identity_cert_expiration_timestamp_seconds 1766750400.5\n\
    control_policy_balancer_endpoints{addr=\"a:8090\",endpoint_state=\"ready\"} 1\n\
    process_start_time_seconds 1 1700000000\n";

const LINES: &str = "[     0.001s]  INFO ThreadId(01) linkerd2_proxy: release 2.300.0 (abc) by linkerd\n\
    [     0.002s]  INFO ThreadId(02) identity: Certified identity id=spiffe://a/b\n\
    [     1.002s] ERROR ThreadId(01) linkerd_app: invalid configuration\n\
    thread 'main' panicked at src/main.rs:1:2:\nbad\n";
