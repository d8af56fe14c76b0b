//! What this host says of itself: its sockets, its SSH server and sessions, its SPIRE agent, its packet filter.

use linkerd_harness::redirection::fuzzing;
use linkerd_harness_core::host::spire_agent::CommandLine;
use linkerd_harness_core::host::ssh_connection::SshConnection;
use linkerd_harness_core::redirect::backend::Backend;
use linkerd_harness_core::redirect::netlink::Reader;
use linkerd_harness_core::redirect::{GuardRail, SshdFound};

use crate::{Target, text};

pub(crate) const SOCKETS: Target = Target {
    name: "sockets",
    run: |input| fuzzing::sockets(&text(input)) > 0,
    seeds: || vec![SOCKETS_SEED.into()],
};

pub(crate) const SSH_PORTS: Target = Target {
    name: "ssh_ports",
    run: |input| {
        let ports = fuzzing::ssh_ports(&text(input));
        assert!(!ports.contains(&0), "port 0 is no port");
        !ports.is_empty()
    },
    seeds: || {
        vec![
            b"Listen=0.0.0.0:22 (Stream)\nListen=[::]:2222 (Stream)\nListen=/run/ssh (Stream)\nActiveState=active\nUnitFileState=disabled\n"
                .into(),
            b"port 22\nport 2200\naddressfamily any\nlistenaddress [::]:22\n".into(),
        ]
    },
};

pub(crate) const RUN_FILE: Target = Target {
    name: "run_file",
    run: |input| fuzzing::run_file(input).is_some(),
    seeds: || vec![run_file()],
};

/// `/proc/<pid>/cmdline`, an empty word, the configuration.
pub(crate) const SPIRE_AGENT: Target = Target {
    name: "spire_agent",
    run: |input| {
        let end = input.windows(2).position(|pair| pair == [0, 0]);
        let (command_line, config) = input.split_at(end.unwrap_or(input.len()));
        let command_line = CommandLine::parse(command_line);
        command_line.server(&text(config)).is_some()
    },
    seeds: || {
        vec![
            b"spire-agent\0run\0-config\0a.conf\0\0agent {\n server_address = \"a.example\" # b\n server_port = 8085 /* c */\n}\nplugins { X \"y\" { z = <<EOF\nv\nEOF\n } }\n".into(),
            b"spire-agent\0run\0--serverPort=1\0\0{\"agent\":{\"server_address\":\"2001:db8::1\",\"server_port\":\"8086\"}}".into(),
        ]
    },
};

pub(crate) const SSH_CONNECTION: Target = Target {
    name: "ssh_connection",
    run: |input| {
        let found = SshConnection::of_environ(input);
        for end in found.iter().flat_map(|found| [found.client, found.server]) {
            assert_ne!(end.port(), 0, "port 0 is no port");
        }
        found.is_some()
    },
    seeds: || vec![b"HOME=/root\0SSH_CONNECTION=::ffff:192.0.2.7 50122 fe80::1%eth0 22\0".into()],
};

/// What the kernel tells of changes of its packet filter.
pub(crate) const NETLINK: Target = Target {
    name: "netlink",
    run: |input| {
        let mut told = 0;
        for backend in Backend::ALL {
            let mut reader = Reader::new(backend);
            told += reader.read(input).len();
            reader.lost();
        }
        told > 0
    },
    seeds: || vec![netlink()],
};

fn run_file() -> Vec<u8> {
    let rails = [
        GuardRail::Sshd {
            port: 22,
            found: SshdFound::Listening,
        },
        GuardRail::SpireServer(([192, 0, 2, 1], 8081).into()),
    ];
    let seen = serde_json::json!({"listeners": 7, "agent": 8});
    let found = serde_json::json!({"rails": rails, "spire_server": "a.example:8081", "seen": seen});
    found.to_string().into()
}

/// A new rule, and the end of its transaction with the process that made it.
fn netlink() -> Vec<u8> {
    let attribute = |kind: u16, value: &[u8]| {
        let mut bytes = u16::try_from(4 + value.len())
            .unwrap_or(4)
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let message = |kind: u8, family: u8, attributes: &[Vec<u8>]| {
        let body = attributes.concat();
        let mut bytes = u32::try_from(20 + body.len())
            .unwrap_or(20)
            .to_ne_bytes()
            .to_vec();
        // NFNL_SUBSYS_NFTABLES is 10.
        bytes.extend(u16::from_le_bytes([kind, 10]).to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend(77_u32.to_ne_bytes());
        bytes.extend([family, 0, 0, 0]);
        bytes.extend(body);
        bytes
    };
    // NFT_MSG_NEWRULE, then NFT_MSG_NEWGEN, as <linux/netfilter/nf_tables.h> numbers them.
    let rule = [attribute(1, b"nat\0"), attribute(2, b"PROXY_INIT_OUTPUT\0")];
    let end = [
        attribute(1, &[0, 0, 0, 3]),
        attribute(2, &77_u32.to_be_bytes()),
        attribute(3, b"iptables\0"),
    ];
    [message(6, 2, &rule), message(15, 0, &end)].concat()
}

const SOCKETS_SEED: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
    0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100 0 0 10 0\n   \
    1: 0000000000000000FFFF00000100000A:0016 0000000000000000FFFF0000090200C0:C001 01 00000000:00000000 02:000A 00000000  0 0 4343 1 0\n";
