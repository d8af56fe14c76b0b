use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Lines as a real proxy writes them.
const PAGE: &str = r#"# HELP control_identity_cert_expiration_timestamp_seconds Time when this proxy's certificate will expire
# TYPE control_identity_cert_expiration_timestamp_seconds gauge
# UNIT control_identity_cert_expiration_timestamp_seconds seconds
control_identity_cert_expiration_timestamp_seconds 1795421000.25
control_identity_cert_refreshes_total{result="error"} 7
control_identity_cert_refreshes_total{result="ok"} 2
control_policy_balancer_endpoints{endpoint_state="pending",addr="policy:8090"} 4
control_policy_balancer_endpoints{endpoint_state="ready",addr="policy:8090"} 1
outbound_http_balancer_endpoints{endpoint_state="ready"} 9
process_start_time_seconds 1795000000
# EOF
"#;

const NOW: Duration = Duration::from_secs(1_795_400_000);

fn page(text: &str) -> Metrics {
    let mut scan = Scan::default();
    scan.feed(text.as_bytes());
    scan.finish()
}

fn serving() -> Observation {
    Observation {
        ready: Some(200),
        metrics: Some(page(PAGE)),
        listening: true,
        said_certified: true,
    }
}

#[test]
fn the_figures_of_a_real_page_are_found() {
    let expected = Metrics {
        refreshes: 2,
        expires: Duration::from_millis(1_795_421_000_250),
        policy_endpoints: 1,
    };
    assert_eq!(page(PAGE), expected);
    assert_eq!(
        page(PAGE.trim_end()),
        expected,
        "the last line may lack its end"
    );
}

#[test]
fn a_page_without_the_figures_proves_nothing() {
    for text in [
        "",
        "\n\n",
        "control_identity_cert_refreshes_total",
        "control_identity_cert_refreshes_total{result=\"ok\"} NaN",
    ] {
        assert_eq!(page(text), Metrics::default(), "{text}");
    }
    let expired = "control_identity_cert_expiration_timestamp_seconds -1\n";
    assert_eq!(page(expired), Metrics::default());
}

#[test]
fn a_long_line_hides_nothing_behind_it() {
    let text = format!("control_{}\n{PAGE}", "x".repeat(100_000));
    assert_eq!(page(&text), page(PAGE));
}

#[test]
fn all_four_facts_make_it_serve() {
    let verdict = judge(&serving(), NOW);
    assert_eq!(verdict, Verdict::Serving);
    assert!(verdict.serves() && verdict.reaches_control_plane());
}

#[test]
fn each_missing_fact_has_its_own_verdict() {
    let no_certificate = Some(Metrics {
        expires: NOW * 2,
        ..Metrics::default()
    });
    let no_policy = Some(Metrics {
        policy_endpoints: 0,
        ..page(PAGE)
    });
    let cases: [(&str, Observation, Verdict); 9] = [
        ("not up", Observation::default(), Verdict::NotListening),
        (
            "silent",
            Observation {
                ready: None,
                ..serving()
            },
            Verdict::NotReady,
        ),
        (
            "waits",
            Observation {
                ready: Some(503),
                ..serving()
            },
            Verdict::NotCertified,
        ),
        (
            "odd",
            Observation {
                ready: Some(500),
                ..serving()
            },
            Verdict::NotReady,
        ),
        (
            "no figures",
            Observation {
                metrics: None,
                ..serving()
            },
            Verdict::NotReady,
        ),
        (
            "no refresh",
            Observation {
                metrics: no_certificate,
                ..serving()
            },
            Verdict::FalseReady,
        ),
        (
            "closed",
            Observation {
                listening: false,
                ..serving()
            },
            Verdict::FalseReady,
        ),
        (
            "alone",
            Observation {
                metrics: no_policy,
                ..serving()
            },
            Verdict::ControlPlaneUnreached,
        ),
        (
            "refused",
            Observation {
                ready: Some(403),
                metrics: None,
                ..serving()
            },
            Verdict::ServingUnseen,
        ),
    ];
    for (name, seen, verdict) in cases {
        assert_eq!(judge(&seen, NOW), verdict, "{name}");
    }
}

#[test]
fn a_certificate_serves_until_it_expires_and_not_longer() {
    let expires = page(PAGE).expires;
    assert_eq!(
        judge(&serving(), expires.saturating_sub(Duration::from_millis(1))),
        Verdict::Serving
    );
    assert_eq!(judge(&serving(), expires), Verdict::CertificateExpired);
}

#[test]
fn a_refused_admin_port_needs_the_word_of_the_log_and_an_open_port() {
    let refused = Observation {
        ready: Some(404),
        metrics: None,
        ..serving()
    };
    let silent = Observation {
        said_certified: false,
        ..refused.clone()
    };
    let closed = Observation {
        listening: false,
        ..refused
    };
    assert_eq!(judge(&silent, NOW), Verdict::NotCertified);
    assert_eq!(judge(&closed, NOW), Verdict::NotListening);
}

#[test]
fn an_unreached_control_plane_still_serves_inbound() {
    assert!(Verdict::ControlPlaneUnreached.serves());
    assert!(!Verdict::ControlPlaneUnreached.reaches_control_plane());
}

proptest! {
    #[test]
    fn no_page_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut scan = Scan::default();
        scan.feed(&bytes);
        scan.finish();
    }

    #[test]
    fn no_line_with_our_names_makes_the_parser_panic(rest in "[ {}\"=,a-z0-9.eE+-]{0,60}", which in 0usize..3) {
        let names = ["control_identity_cert_refreshes_total", "control_policy_balancer_endpoints", "control_identity_cert_expiration_timestamp_seconds"];
        page(&format!("{}{rest}\n", names[which]));
    }

    #[test]
    fn where_the_page_is_cut_does_not_matter(cuts in proptest::collection::vec(0..PAGE.len(), 0..20)) {
        let mut cuts = cuts;
        cuts.sort_unstable();
        let (mut scan, mut from) = (Scan::default(), 0);
        for cut in cuts {
            scan.feed(&PAGE.as_bytes()[from..cut]);
            from = cut;
        }
        scan.feed(&PAGE.as_bytes()[from..]);
        prop_assert_eq!(scan.finish(), page(PAGE));
    }
}
