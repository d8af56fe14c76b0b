//! Any plan: every key that has a say in what is redirected.

use linkerd_harness_core::config::{FailurePolicy, Mode, Redirect};
use linkerd_harness_core::names::PortRange;
use linkerd_harness_core::redirect::{GuardRail, Plan, ProxyPorts, SshdFound};
use proptest::prelude::*;

use crate::setup::mk_redirect;

/// What the configuration and the host say.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    redirect: Redirect,
    /// `ProxyUserID`.
    uid: u32,
    outbound_port: u16,
    sshd: u16,
    inbound_only: bool,
}

pub(super) fn wanted() -> impl Strategy<Value = Wanted> {
    // Most plans that follow one another differ little: then one rule is another, and their number is the same.
    let simple = (1u16.., any::<bool>()).prop_map(|(port, ipv6)| {
        let mut redirect = mk_redirect(ipv6);
        redirect.inbound_ignore = vec![port.to_string().parse().unwrap()];
        redirect
    });
    let redirect = (
        [ports(), ports(), ports()],
        subnets(),
        subnets(),
        any::<bool>(),
    )
        .prop_map(
            |([inbound_ports, inbound_ignore, outbound_ignore], ignore, to, ipv6)| Redirect {
                inbound_ports,
                inbound_ignore,
                outbound_ignore,
                subnets_ignore: ignore.iter().map(|net| net.parse().unwrap()).collect(),
                subnets_redirect: to.iter().map(|net| net.parse().unwrap()).collect(),
                ipv6,
                mode: Mode::Auto,
                failure_policy: FailurePolicy::Open,
            },
        );
    let redirect = prop_oneof![2 => simple, 3 => redirect];
    let number = prop::sample::select(vec![22, 2200, 4140, 4150, 42_424]);
    (redirect, [(); 3].map(|()| number.clone()), any::<bool>()).prop_map(
        |(redirect, [uid, outbound_port, sshd], inbound_only)| Wanted {
            redirect,
            uid: uid.into(),
            outbound_port,
            sshd,
            inbound_only,
        },
    )
}

/// None, some singles and ranges, or hundreds.
fn ports() -> impl Strategy<Value = Vec<PortRange>> {
    let some = prop::collection::vec((1u16.., 0u16..300), 0..4).prop_map(|ranges| {
        let range = |(first, more): (u16, u16)| format!("{first}-{}", first.saturating_add(more));
        ranges.into_iter().map(range).collect()
    });
    let hundreds = (100u16..500, 1u16..40_000)
        .prop_map(|(count, from)| (0..count).map(|n| (from + 3 * n).to_string()).collect());
    prop_oneof![8 => some, 1 => hundreds]
        .prop_map(|texts: Vec<String>| texts.iter().map(|text| text.parse().unwrap()).collect())
}

/// Of both families: none, some of any size (also such as lie in one another, and everything), or hundreds.
fn subnets() -> impl Strategy<Value = Vec<String>> {
    let v4 =
        (0u8..4, any::<u8>(), 0u8..=32).prop_map(|(a, b, size)| format!("10.{a}.{b}.9/{size}"));
    let v6 = (0u8..4, any::<u8>(), 0u8..=128)
        .prop_map(|(a, b, size)| format!("fd{a:02x}::{b}:9/{size}"));
    let some = prop::collection::vec(prop_oneof![v4, v6], 0..4);
    let hundreds = (100u16..500).prop_map(|count| {
        let pair = |n| {
            [
                format!("10.{}.{}.0/24", n / 128, n % 128 * 2),
                format!("fd00:0:{n:x}::/64"),
            ]
        };
        (0..count / 2).flat_map(pair).collect()
    });
    prop_oneof![8 => some, 1 => hundreds]
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn plan(&self) -> Plan {
        let ports = ProxyPorts {
            inbound: 4143,
            outbound: self.outbound_port,
            outbound_v6: self.outbound_port,
            admin: vec![4190, 4191, 4192],
        };
        let guard = [
            GuardRail::Sshd {
                port: self.sshd,
                found: SshdFound::Listening,
            },
            GuardRail::SshSession {
                peer: "192.0.2.9".parse().unwrap(),
                port: 22,
            },
            GuardRail::ControlPlane("10.0.0.81:8081".parse().unwrap()),
            GuardRail::SpireServer("[fd00::81]:8081".parse().unwrap()),
        ];
        let plan = Plan::new(&self.redirect, ports, self.uid, guard);
        if self.inbound_only {
            plan.inbound_only()
        } else {
            plan
        }
    }
}
