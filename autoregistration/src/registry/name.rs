//! Names of a workload: made from who and where it is, so that they are the same after a reboot of the VM and after a
//! restart of ours, with nothing remembered.

use linkerd_harness_core::names::GroupRef;
use sha2::{Digest as _, Sha256};

use crate::identity::SpiffeId;

/// What a workload is recognised by: 32 bytes over group, SPIFFE ID and machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// How many names a workload may take, should another one have the same first ten digits.
pub const CANDIDATES: u8 = 4;

// === impl Fingerprint ===

impl Fingerprint {
    /// The fingerprint of `identity` on the machine `instance` in `group`. Namespace, name and identity cannot contain
    /// the separator, so no two different callers hash the same text.
    pub fn new(group: &GroupRef, identity: &SpiffeId, instance: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update("meshexpansion/v1|");
        hash.update(group.namespace.as_str());
        hash.update("|");
        hash.update(group.name.as_str());
        hash.update("|");
        hash.update(identity.as_str());
        hash.update("|");
        hash.update(instance);
        Self(hash.finalize().into())
    }

    /// Reads what [`Self::to_hex`] has written.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// What replicas name a session by when they compare theirs.
    pub fn short(self) -> [u8; 16] {
        let mut short = [0; 16];
        short
            .iter_mut()
            .zip(self.0)
            .for_each(|(to, from)| *to = from);
        short
    }

    /// A number that is evenly distributed over VMs.
    pub fn draw(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// What [`Self::to_bytes`] has given.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// All of it, for the wire.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// All of it in hex.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// The workload's name: the group's and ten hex digits. `candidate` counts from 0; a further one is for the case
    /// that another workload has the name.
    pub fn workload_name(self, group: &GroupRef, candidate: u8) -> String {
        let digest = match candidate {
            0 => self.0,
            other => Sha256::new()
                .chain_update(self.0)
                .chain_update([other])
                .finalize()
                .into(),
        };
        let digits = hex::encode(digest.get(..5).unwrap_or_default());
        format!("{}-{digits}", group.name)
    }
}

/// A uid for an object that has none: a UUID (version 8) over its kind and key.
pub fn uid(kind: &str, key: &str) -> String {
    let digest = Sha256::digest(format!("meshexpansion/v1/uid|{kind}|{key}"));
    let mut bytes = [0_u8; 16];
    bytes
        .iter_mut()
        .zip(digest)
        .for_each(|(to, from)| *to = from);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let part = |range: std::ops::Range<usize>| hex::encode(bytes.get(range).unwrap_or_default());
    format!(
        "{}-{}-{}-{}-{}",
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..10),
        part(10..16)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> GroupRef {
        GroupRef {
            namespace: "training".parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    fn identity() -> SpiffeId {
        "spiffe://root.linkerd.cluster.local/proxy-harness"
            .parse()
            .unwrap()
    }

    #[test]
    fn a_name_is_the_group_and_ten_digits_of_the_documented_hash() {
        let print = Fingerprint::new(&group("training-vm"), &identity(), &[0; 32]);
        let mut text = b"meshexpansion/v1|training|training-vm|".to_vec();
        text.extend(b"spiffe://root.linkerd.cluster.local/proxy-harness|");
        text.extend([0; 32]);
        let digits = hex::encode(Sha256::digest(text));
        assert_eq!(
            print.workload_name(&group("training-vm"), 0),
            format!("training-vm-{}", digits.get(..10).unwrap())
        );
        assert_eq!(uid("workload", &print.to_hex()).len(), 36);
    }

    #[test]
    fn another_machine_identity_or_group_is_another_workload() {
        let id = identity();
        let prints = [
            Fingerprint::new(&group("a"), &id, &[0; 32]),
            Fingerprint::new(&group("a"), &id, &[1; 32]),
            Fingerprint::new(&group("b"), &id, &[0; 32]),
            Fingerprint::new(
                &group("a"),
                &"spiffe://root.linkerd.cluster.local/b".parse().unwrap(),
                &[0; 32],
            ),
        ];
        let unique = prints.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(unique.len(), prints.len());
        let names = (0..CANDIDATES)
            .map(|n| prints[0].workload_name(&group("a"), n))
            .collect::<std::collections::BTreeSet<_>>();
        assert_eq!(names.len(), usize::from(CANDIDATES));
    }
}
