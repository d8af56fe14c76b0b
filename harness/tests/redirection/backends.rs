//! Each test of the behaviour runs once a backend.

use linkerd_harness_core::config::Mode;

pub(crate) const ALL: [Mode; 3] = [Mode::Nft, Mode::Legacy, Mode::Nftables];

/// Tells a child of a test which backend.
pub(crate) const MODE: &str = "REDIRECTION_TEST_MODE";

macro_rules! on_all_backends {
    ($($module:ident :: $test:ident),* $(,)?) => {
        mod nft {
            $(#[test] fn $test() { crate::$module::$test(linkerd_harness_core::config::Mode::Nft); })*
        }
        mod legacy {
            $(#[test] fn $test() { crate::$module::$test(linkerd_harness_core::config::Mode::Legacy); })*
        }
        mod nftables {
            $(#[test] fn $test() { crate::$module::$test(linkerd_harness_core::config::Mode::Nftables); })*
        }
    };
}

on_all_backends!(
    traffic::new_connections_go_through_the_proxy_and_the_rest_is_left_alone,
    traffic::connections_that_are_open_survive_reapply_and_withdrawal,
    traffic::connections_that_were_open_before_the_first_rule_carry_on,
    traffic::outbound_can_be_left_out_and_comes_back,
    traffic::subnets_and_ports_limit_what_is_redirected,
    traffic::each_rule_counts_the_connections_that_it_matched,
    traffic::both_families_come_and_go_together,
    foreign::rules_of_others_are_byte_equal_after_removal,
    foreign::a_crash_leaves_nothing_that_cleanup_needs_memory_for,
    foreign::drift_is_seen_and_repaired,
    foreign::published_container_ports_are_meshed_whoever_starts_first,
    foreign::a_change_of_mode_leaves_nothing_in_the_other_backends,
    foreign::the_owner_repairs_what_others_flush,
    traffic::nobody_goes_astray_while_the_plan_changes,
    dialect::a_tool_with_other_words_is_understood,
    drift::each_kind_of_tampering_is_seen_repaired_and_told,
    drift::saved_rules_that_come_back_while_none_are_wanted_are_withdrawn,
    drift::a_writer_that_fights_back_is_named_and_does_not_get_a_race,
    proof::rules_that_work_are_proven_and_nothing_is_left,
    proof::without_a_route_the_neighbour_serves,
    proof::rules_that_do_not_work_fail,
    proof::a_proxy_that_does_not_listen_fails,
    proof::a_firewall_that_drops_is_no_alarm,
    proof::two_at_once_do_not_disturb_one_another,
    keys::each_of_hundreds_of_ports_counts,
    keys::each_of_hundreds_of_subnets_counts,
    keys::only_the_configured_uid_passes_by_the_proxy,
    load::reapplying_under_load_opens_no_gap,
    transitions::any_walk_ends_in_exactly_what_is_wanted,
    privileges::the_daemon_needs_two_capabilities_and_no_root,
);

/// The name in `iptables-<name>-save` of what other programs use beside this backend.
pub(crate) fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Legacy => "legacy",
        Mode::Nft | Mode::Auto | Mode::Nftables => "nft",
    }
}

/// As in the configuration.
pub(crate) fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Auto => "auto",
        Mode::Nft => "nft",
        Mode::Legacy => "legacy",
        Mode::Nftables => "nftables",
    }
}

/// The mode of a child of a test, from its environment.
pub(crate) fn mode_of_child() -> Mode {
    let word_of_parent = std::env::var(MODE).unwrap();
    *ALL.iter()
        .find(|mode| word(**mode) == word_of_parent)
        .unwrap()
}

/// What [`cleanup`](crate::setup::cleanup) says it removed.
pub(crate) fn removed(mode: Mode) -> String {
    match mode {
        Mode::Nftables => "table inet linkerd_proxy_harness of nftables".to_owned(),
        _ => format!("IPv4 rules of iptables-{}", name(mode)),
    }
}
