//! What other programs, and people, do to the rules of a host: to their own and to ours.

use linkerd_harness_core::config::Mode;
use linkerd_harness_core::redirect::nftables::TABLE;
use proptest::prelude::*;

/// To rules of their own, in any table.
const TO_THEIRS: [&str; 15] = [
    "-t nat -A PREROUTING -m addrtype --dst-type LOCAL -j FOREIGN",
    "-t nat -I PREROUTING 1 -p tcp --dport 80 -m comment --comment \"not -j PROXY_INIT_REDIRECT\" -j ACCEPT",
    "-t nat -I OUTPUT 1 -p udp --dport 53 -j REDIRECT --to-ports 5353",
    "-t nat -A OUTPUT -p tcp --dport 81 -j RETURN",
    "-t nat -A POSTROUTING -o eth9 -j MASQUERADE",
    "-t nat -A FOREIGN -p tcp --dport 8080 -j ACCEPT",
    "-t nat -D OUTPUT -p tcp --dport 81 -j RETURN",
    "-t filter -A INPUT -p tcp --dport 23 -j DROP",
    "-t filter -P FORWARD DROP",
    "-t filter -N PROXY_INIT_OUTPUT",
    "-t filter -A OUTPUT -j PROXY_INIT_OUTPUT",
    "-t filter -F INPUT",
    "-t mangle -A PREROUTING -p tcp --dport 1 -j MARK --set-mark 7",
    "-t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
    "-t raw -A PREROUTING -p udp --dport 9 -j NOTRACK",
];

/// To ours, and to the whole table.
const TO_OURS: [&str; 14] = [
    "-t nat -F",
    "-t nat -F OUTPUT",
    "-t nat -F PROXY_INIT_OUTPUT",
    "-t nat -D PROXY_INIT_OUTPUT 2",
    "-t nat -D PROXY_INIT_REDIRECT 1",
    "-t nat -I PROXY_INIT_REDIRECT 1 -j ACCEPT",
    "-t nat -A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-ports 9",
    "-t nat -D PREROUTING 1",
    "-t nat -D OUTPUT 1",
    "-t nat -A OUTPUT -j PROXY_INIT_OUTPUT",
    "-t nat -A FOREIGN -p tcp -j PROXY_INIT_REDIRECT",
    "-t nat -N PROXY_INIT_REDIRECT",
    "-t nat -A PREROUTING -g PROXY_INIT_OUTPUT",
    "-t nat -A PROXY_INIT_OUTPUT -j PROXY_INIT_REDIRECT",
];

/// To our own table.
const TO_OUR_TABLE: [&str; 13] = [
    "nft flush chain OURS prerouting",
    "nft flush chain OURS output",
    "nft flush chain OURS proxy_init_output",
    "nft insert rule OURS prerouting tcp dport 1 accept",
    "nft insert rule OURS output tcp dport 1 accept",
    "nft add rule OURS output jump proxy_init_output",
    "nft insert rule OURS proxy_init_redirect accept",
    "nft add rule OURS proxy_init_output tcp dport 9 redirect to :9",
    "nft add set OURS mine '{ type mark; }'",
    "nft add chain OURS mine '{ type nat hook prerouting priority -150; }'",
    "nft flush chain OURS output; nft delete chain OURS output",
    "nft add table OURS '{ flags dormant; }'",
    "nft delete table OURS",
];

/// In the kernel's own words.
const NATIVE: [&str; 4] = [
    "nft add table inet foreign; nft add chain inet foreign pre '{ type nat hook prerouting priority -110; }'; nft add rule inet foreign pre tcp dport 7 accept",
    "nft add table ip foreign; nft add chain ip foreign out '{ type filter hook output priority 0; }'; nft add rule ip foreign out tcp dport 7 counter",
    "nft delete table inet foreign",
    "nft flush ruleset",
];

/// Some commands for a shell, mostly to the backend of this mode. One that does not apply (no such rule or chain) changes
/// nothing.
pub(super) fn commands(mode: Mode) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(command(mode), 1..6)
}

fn command(mode: Mode) -> impl Strategy<Value = String> {
    let of = |backend: &'static str| {
        prop::sample::select(vec!["iptables", "iptables", "ip6tables"])
            .prop_map(move |program| format!("{program}-{backend}"))
    };
    let (main, other) = match mode {
        Mode::Legacy => ("legacy -w 5", "nft"),
        Mode::Nft | Mode::Auto | Mode::Nftables => ("nft", "legacy -w 5"),
    };
    let program = prop_oneof![3 => of(main), 1 => of(other)];
    let args = prop_oneof![
        prop::sample::select(TO_THEIRS.to_vec()),
        prop::sample::select(TO_OURS.to_vec()),
    ];
    let iptables = (program, args).prop_map(|(program, args)| {
        if args.contains("FOREIGN") {
            format!("{program} -t nat -N FOREIGN; {program} {args}")
        } else {
            format!("{program} {args}")
        }
    });
    let native = prop::sample::select(NATIVE.to_vec()).prop_map(str::to_owned);
    let table = prop::sample::select(TO_OUR_TABLE.to_vec())
        .prop_map(|command| command.replace("OURS", TABLE));
    let of_table = if mode == Mode::Nftables { 12 } else { 1 };
    prop_oneof![12 => iptables, 1 => native, of_table => table]
}
