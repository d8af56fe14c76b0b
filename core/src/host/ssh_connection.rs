//! `SSH_CONNECTION`, which every SSH server gives its sessions (ssh(1)): `192.0.2.7 50122 198.51.100.1 22`.

use std::net::{IpAddr, SocketAddr};

const NAME: &[u8] = b"SSH_CONNECTION=";

/// The two ends of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SshConnection {
    /// Where the operator comes from.
    pub client: SocketAddr,
    /// Where it arrived, as the server sees it.
    pub server: SocketAddr,
}

impl SshConnection {
    /// From `/proc/<pid>/environ`.
    pub fn of_environ(environ: &[u8]) -> Option<Self> {
        let value = environ
            .split(|byte| *byte == 0)
            .find_map(|variable| variable.strip_prefix(NAME))?;
        Self::parse(std::str::from_utf8(value).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let found = Self {
            client: endpoint(words.next()?, words.next()?)?,
            server: endpoint(words.next()?, words.next()?)?,
        };
        words.next().is_none().then_some(found)
    }
}

/// An IPv6 address may have a zone; an IPv4 address inside an IPv6 one is taken out, as the kernel's list does.
fn endpoint(address: &str, port: &str) -> Option<SocketAddr> {
    let address = address.split_once('%').map_or(address, |(bare, _)| bare);
    let address: IpAddr = address.parse().ok()?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_session_is_found_among_other_variables() {
        let environ = b"HOME=/root\0XSSH_CONNECTION=1\0SSH_CONNECTION=::ffff:192.0.2.7 50122 fe80::1%eth0 2222\0";
        let found = SshConnection::of_environ(environ).unwrap();
        assert_eq!(found.client, "192.0.2.7:50122".parse().unwrap());
        assert_eq!(found.server, "[fe80::1]:2222".parse().unwrap());
    }

    #[test]
    fn nonsense_is_nothing() {
        for text in [
            "",
            "192.0.2.7 50122 198.51.100.1",
            "192.0.2.7 50122 198.51.100.1 0",
            "192.0.2.7 50122 198.51.100.1 22 more",
            "operator 50122 198.51.100.1 22",
        ] {
            assert_eq!(SshConnection::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_session_is_read_back(client: SocketAddr, server: SocketAddr, before in "[A-Z]{1,9}=[a-z]{0,9}") {
            prop_assume!(client.port() != 0 && server.port() != 0);
            let environ = format!(
                "{before}\0SSH_CONNECTION={} {} {} {}\0",
                client.ip(), client.port(), server.ip(), server.port()
            );
            let found = SshConnection::of_environ(environ.as_bytes()).unwrap();
            prop_assert_eq!(found.client, SocketAddr::new(client.ip().to_canonical(), client.port()));
            prop_assert_eq!(found.server, SocketAddr::new(server.ip().to_canonical(), server.port()));
        }

        #[test]
        fn no_environment_breaks_it(environ: Vec<u8>) {
            SshConnection::of_environ(&environ);
            let named = [NAME, environ.as_slice()].concat();
            SshConnection::of_environ(&named);
        }
    }
}
