//! What the kernel tells of changes to its packet filter, as far as we need it.
//!
//! Members of the netlink group `NFNLGRP_NFTABLES` get, for each transaction after it was committed, a message for each
//! thing that changed and then one of type `NFT_MSG_NEWGEN`, which says who did it (`linux/netfilter/nf_tables.h`;
//! `nf_tables_commit` in `net/netfilter/nf_tables_api.c`). Transactions are never mixed. `iptables-legacy` makes none.

use std::fmt;

use super::backend::Backend;
use super::nftables;
use super::rule::Chain;

/// `NFNL_SUBSYS_NFTABLES`: the upper byte of a message's type.
const NF_TABLES: u8 = 10;

/// `NFT_MSG_…`: the lower byte of a message's type.
const NEW_TABLE: u8 = 0;
const DEL_TABLE: u8 = 2;
const NEW_CHAIN: u8 = 3;
const DEL_CHAIN: u8 = 5;
const NEW_RULE: u8 = 6;
const DEL_RULE: u8 = 8;
const NEW_GEN: u8 = 15;

/// `NFTA_GEN_PROC_PID` and `NFTA_GEN_PROC_NAME`.
const GEN_PROC_PID: u16 = 2;
const GEN_PROC_NAME: u16 = 3;

/// `NFTA_…_TABLE` of everything that is in a table, and the name of a table itself.
const TABLE: u16 = 1;
/// `NFTA_RULE_CHAIN`.
const RULE_CHAIN: u16 = 2;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const IP_FAMILIES: [u8; 2] = [2, 10];

/// Lengths of `nlmsghdr`, `nfgenmsg` and `nlattr`.
const HEADER: usize = 16;
const GENERIC: usize = 4;
const ATTRIBUTE: usize = 4;

/// A process that changed the packet filter, by the kernel's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Its process id as the first process of the machine sees it; in a container, not the one that is seen there.
    pub pid: u32,
    /// The id of its netlink socket, which most programs leave to the kernel: then it is the process id as seen where the
    /// process is.
    pub port: u32,
    /// Its name: at most 15 bytes of the file name of what runs.
    pub name: String,
}

/// One committed change of the packet filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Whether it may have changed what we compare: our chains, the chains that lead into them, a table that they are in.
    pub concerns_us: bool,
    /// Who did it; `None` when the kernel did not say.
    pub writer: Option<Writer>,
}

/// Puts messages together to transactions. Takes any bytes: what it does not know it leaves out.
#[derive(Clone, Debug)]
pub struct Reader {
    backend: Backend,
    /// Of the transaction whose end is still to come.
    things: Things,
}

/// What messages told of so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Things {
    /// Of nothing. A transaction without things is one of which we missed the beginning.
    #[default]
    None,
    /// Of things of others only.
    Foreign,
    /// Of something that concerns us.
    Ours,
}

// === impl Reader ===

impl Reader {
    /// For a host whose rules of ours are in this backend.
    pub fn new(backend: Backend) -> Self {
        Self {
            backend,
            things: Things::None,
        }
    }

    /// The transactions that end in this datagram.
    pub fn read(&mut self, datagram: &[u8]) -> Vec<Transaction> {
        let mut ended = Vec::new();
        for message in Messages(datagram) {
            if message.kind != NEW_GEN {
                self.things = match self.things {
                    Things::Ours => Things::Ours,
                    _ if message.concerns_us(self.backend) => Things::Ours,
                    _ => Things::Foreign,
                };
                continue;
            }
            ended.push(Transaction {
                concerns_us: std::mem::take(&mut self.things) != Things::Foreign,
                writer: message.writer(),
            });
        }
        ended
    }

    /// What is to be thought after messages were lost: somebody changed something.
    pub fn lost(&mut self) -> Transaction {
        self.things = Things::None;
        Transaction {
            concerns_us: true,
            writer: None,
        }
    }
}

/// One message of `nf_tables`.
struct Message<'a> {
    /// `NFT_MSG_…`.
    kind: u8,
    /// `NFPROTO_…`.
    family: u8,
    port: u32,
    attributes: &'a [u8],
}

impl<'a> Message<'a> {
    fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        Attributes(self.attributes)
            .find(|(found, _)| *found == kind)
            .map(|(_, value)| value)
    }

    fn text(&self, kind: u16) -> Option<&'a [u8]> {
        let value = self.attribute(kind)?;
        value.split(|byte| *byte == 0).next()
    }

    fn concerns_us(&self, backend: Backend) -> bool {
        let Some(table) = self.text(TABLE) else {
            return true;
        };
        if backend == Backend::Nftables {
            let own = nftables::TABLE.split_once(' ');
            return own.is_some_and(|(_, name)| name.as_bytes() == table);
        }
        if table != b"nat" || !IP_FAMILIES.contains(&self.family) {
            return false;
        }
        match self.kind {
            NEW_TABLE | DEL_TABLE | NEW_CHAIN | DEL_CHAIN => true,
            // Docker, say, changes rules of its own chains there all day.
            NEW_RULE | DEL_RULE => self.text(RULE_CHAIN).is_none_or(|name| {
                Chain::ALL
                    .into_iter()
                    .any(|chain| name == chain.name().as_bytes() || name == chain.hook().as_bytes())
            }),
            _ => false,
        }
    }

    fn writer(&self) -> Option<Writer> {
        let name = String::from_utf8_lossy(self.text(GEN_PROC_NAME)?);
        Some(Writer {
            pid: u32::from_be_bytes(self.attribute(GEN_PROC_PID)?.try_into().ok()?),
            port: self.port,
            // Any program may call itself anything, and this gets into logs.
            name: name.replace(char::is_control, "?"),
        })
    }
}

/// The messages of `nf_tables` in a datagram.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        loop {
            let header = self.0.get(..HEADER)?;
            let length = usize::try_from(u32_at(header, 0)?).ok()?;
            let body = self.0.get(HEADER..length)?;
            self.0 = self.0.get(aligned(length)..).unwrap_or_default();
            let [kind, subsystem] = u16_at(header, 4)?.to_le_bytes();
            if subsystem == NF_TABLES
                && let Some((generic, attributes)) = body.split_at_checked(GENERIC)
            {
                return Some(Message {
                    kind,
                    family: generic.first().copied().unwrap_or_default(),
                    port: u32_at(header, 12)?,
                    attributes,
                });
            }
        }
    }
}

/// The attributes of a message: what each is, and its value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        // Without the flags "nested" and "in network byte order".
        let kind = u16_at(self.0, 2)? & 0x3fff;
        let value = self.0.get(ATTRIBUTE..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    }
}

// === impl Writer ===

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Messages and attributes begin at multiples of four.
fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests;
