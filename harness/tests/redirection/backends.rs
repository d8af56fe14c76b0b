//! Each test of the behaviour runs once a backend.

macro_rules! on_both_backends {
    ($($module:ident :: $test:ident),* $(,)?) => {
        mod nft {
            $(#[test] fn $test() { crate::$module::$test(linkerd_harness_core::config::Mode::Nft); })*
        }
        mod legacy {
            $(#[test] fn $test() { crate::$module::$test(linkerd_harness_core::config::Mode::Legacy); })*
        }
    };
}

on_both_backends!(
    traffic::new_connections_go_through_the_proxy_and_the_rest_is_left_alone,
    traffic::connections_that_are_open_survive_reapply_and_withdrawal,
    traffic::connections_that_were_open_before_the_first_rule_carry_on,
    traffic::outbound_can_be_left_out_and_comes_back,
    traffic::subnets_and_ports_limit_what_is_redirected,
    traffic::both_families_come_and_go_together,
    foreign::rules_of_others_are_byte_equal_after_removal,
    foreign::a_crash_leaves_nothing_that_cleanup_needs_memory_for,
    foreign::drift_is_seen_and_repaired,
    foreign::published_container_ports_are_meshed_whoever_starts_first,
    foreign::a_change_of_mode_leaves_nothing_in_the_other_backend,
    foreign::the_owner_repairs_what_others_flush,
    privileges::the_daemon_needs_two_capabilities_and_no_root,
);

/// The name in `iptables-<name>-save`.
pub(crate) fn name(mode: linkerd_harness_core::config::Mode) -> &'static str {
    match mode {
        linkerd_harness_core::config::Mode::Legacy => "legacy",
        linkerd_harness_core::config::Mode::Nft | linkerd_harness_core::config::Mode::Auto => "nft",
    }
}
