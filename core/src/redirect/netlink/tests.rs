use proptest::prelude::*;

use super::*;

/// A message as kernel 6.18 sends it.
fn mk_message(kind: u8, family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0];
    for (kind, value) in attributes {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap();
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(aligned(body.len()), 0);
    }
    let mut message = u32::try_from(HEADER + body.len())
        .unwrap()
        .to_ne_bytes()
        .to_vec();
    message.extend(u16::from_le_bytes([kind, NF_TABLES]).to_ne_bytes());
    message.extend([0; 6]);
    message.extend(77_u32.to_ne_bytes());
    message.extend(body);
    message
}

fn mk_rule(kind: u8, family: u8, table: &str, chain: &str) -> Vec<u8> {
    let (table, chain) = (table.to_owned() + "\0", chain.to_owned() + "\0");
    let (table, chain) = (table.as_bytes(), chain.as_bytes());
    mk_message(
        kind,
        family,
        &[(TABLE, table), (RULE_CHAIN, chain), (3, &[0; 8])],
    )
}

fn mk_end(pid: u32, name: &str) -> Vec<u8> {
    let name = name.to_owned() + "\0";
    mk_message(
        NEW_GEN,
        0,
        &[
            (1, &[0, 0, 0, 3]),
            (GEN_PROC_PID, &pid.to_be_bytes()),
            (GEN_PROC_NAME, name.as_bytes()),
        ],
    )
}

fn concerns_us(backend: Backend, message: &[u8]) -> bool {
    let mut reader = Reader::new(backend);
    assert_eq!(reader.read(message), []);
    let ended = reader.read(&mk_end(1, "nft"));
    assert_eq!(ended.len(), 1);
    ended[0].concerns_us
}

#[test]
fn a_transaction_says_who_made_it_even_when_it_comes_in_pieces() {
    let mut reader = Reader::new(Backend::Nft);
    let things = [
        mk_rule(DEL_RULE, 2, "nat", "FOO"),
        mk_rule(DEL_RULE, 2, "nat", "OUTPUT"),
    ];
    assert_eq!(reader.read(&things.concat()), []);
    let rest = [
        mk_end(4711, "iptables-nft"),
        mk_rule(NEW_RULE, 2, "filter", "INPUT"),
        mk_end(4712, "x\n\x1b[31m"),
    ];
    let writer = |pid, name: &str| {
        Some(Writer {
            pid,
            port: 77,
            name: name.to_owned(),
        })
    };
    assert_eq!(
        reader.read(&rest.concat()),
        [
            Transaction {
                concerns_us: true,
                writer: writer(4711, "iptables-nft")
            },
            Transaction {
                concerns_us: false,
                writer: writer(4712, "x??[31m")
            },
        ]
    );
}

#[test]
fn only_what_can_undo_our_rules_concerns_us() {
    for (kind, family, table, chain, concerns) in [
        (DEL_RULE, 2, "nat", "PROXY_INIT_OUTPUT", true),
        (NEW_RULE, 10, "nat", "PREROUTING", true),
        (NEW_RULE, 2, "nat", "DOCKER", false),
        (NEW_RULE, 2, "nat", "POSTROUTING", false),
        // Of another family: `inet nat` is a table of its own.
        (NEW_RULE, 1, "nat", "OUTPUT", false),
        (NEW_RULE, 2, "filter", "OUTPUT", false),
        (DEL_TABLE, 2, "nat", "", true),
        (DEL_CHAIN, 2, "nat", "ANY", true),
        (DEL_TABLE, 2, "filter", "", false),
        (DEL_TABLE, 1, "linkerd_proxy_harness", "", false),
        // Elements of a set.
        (12, 2, "nat", "", false),
    ] {
        assert_eq!(
            concerns_us(Backend::Nft, &mk_rule(kind, family, table, chain)),
            concerns,
            "{kind} {family} {table} {chain}"
        );
    }
}

#[test]
fn in_a_table_of_our_own_only_that_table_concerns_us() {
    let concerns = |message: &[u8]| concerns_us(Backend::Nftables, message);
    assert!(concerns(&mk_rule(
        DEL_TABLE,
        1,
        "linkerd_proxy_harness",
        ""
    )));
    assert!(concerns(&mk_rule(
        NEW_RULE,
        1,
        "linkerd_proxy_harness",
        "any"
    )));
    // Elements of its sets.
    assert!(concerns(&mk_rule(14, 1, "linkerd_proxy_harness", "")));
    assert!(!concerns(&mk_rule(DEL_RULE, 2, "nat", "OUTPUT")));
    assert!(!concerns(&mk_rule(DEL_TABLE, 1, "firewalld", "")));
}

#[test]
fn what_was_missed_may_concern_us() {
    let mut reader = Reader::new(Backend::Nft);
    let ended = reader.read(&mk_end(1, "nft"));
    assert!(ended[0].concerns_us, "its beginning was missed");
    reader.read(&mk_rule(NEW_RULE, 2, "filter", "INPUT"));
    let lost = reader.lost();
    assert!(lost.concerns_us && lost.writer.is_none());
    assert!(reader.read(&mk_end(1, "nft"))[0].concerns_us);
    assert!(
        concerns_us(Backend::Nft, &mk_message(NEW_RULE, 2, &[])),
        "no table is told"
    );
}

#[test]
fn messages_of_others_and_broken_ones_are_left_out() {
    let mut other = mk_end(1, "conntrack");
    // NFNL_SUBSYS_CTNETLINK.
    other[4..6].copy_from_slice(&u16::from_le_bytes([NEW_GEN, 1]).to_ne_bytes());
    let mut reader = Reader::new(Backend::Nft);
    assert_eq!(reader.read(&other), []);
    assert_eq!(reader.read(&[other, mk_end(2, "nft")].concat()).len(), 1);
    let whole = mk_end(3, "nft");
    for length in 0..whole.len() {
        assert_eq!(reader.read(&whole[..length]), [], "{length} bytes");
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Reader::new(Backend::Nft).read(&bytes).len() <= bytes.len());
    }

    /// Near misses: a true message with some bytes changed.
    #[test]
    fn spoilt_messages_can_be_read(changes in proptest::collection::vec((0_usize..200, any::<u8>()), 1..8)) {
        let mut bytes = [mk_rule(NEW_RULE, 2, "nat", "OUTPUT"), mk_end(1, "nft")].concat();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        prop_assert!(Reader::new(Backend::Nft).read(&bytes).len() <= 2 + bytes.len() / HEADER);
    }
}
