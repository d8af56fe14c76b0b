//! Which machine this is, in a form that may leave the host.

use std::fs;
use std::path::Path;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::redirection::run_file;

/// Key of the hash: the raw machine id must not leave the host (machine-id(5)).
const APPLICATION: &[u8] = b"linkerd-proxy-harness/instance/v1";

/// Left by `prepare`, which as root may read the firmware's id; survives a new image, and clones have their own.
const PRODUCT_UUID: &str = "product-uuid";

/// Names of this machine, this boot and this process.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Stable over reboots, 32 bytes.
    pub id: Vec<u8>,
    /// The kernel's boot id.
    pub boot: Vec<u8>,
    /// Of this process, random.
    pub session: Vec<u8>,
    /// The host's name, for people.
    pub hostname: String,
}

impl Instance {
    /// Reads the machine's names; `runtime` is the daemon's directory under `/run`.
    ///
    /// # Errors
    /// The machine has no readable id at all.
    pub fn read(runtime: &Path) -> Result<Self, Error> {
        let named = |path: &Path| {
            fs::read_to_string(path)
                .ok()
                .map(|text| text.trim().to_owned())
                .filter(|id| !id.is_empty())
        };
        let machine = named(&runtime.join(PRODUCT_UUID))
            .or_else(|| named(Path::new("/etc/machine-id")))
            .ok_or(Error)?;
        let boot = named(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
        let hostname = nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_default();
        Ok(Self {
            id: hashed(&machine),
            boot: boot.into_bytes(),
            session: rand::random::<[u8; 16]>().to_vec(),
            hostname,
        })
    }
}

/// Neither the firmware nor `/etc/machine-id` names this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this machine has no id: `/etc/machine-id` is empty or missing; make one: systemd-machine-id-setup"
)]
pub struct Error;

/// As root: leaves the firmware's id where the daemon can read it. A container shares its host's, so it gets none.
///
/// # Errors
/// The file cannot be written.
pub fn prepare(runtime: &Path) -> std::io::Result<()> {
    if Path::new("/run/systemd/container").exists() {
        return Ok(());
    }
    match fs::read_to_string("/sys/class/dmi/id/product_uuid") {
        Ok(uuid) => run_file::write(runtime, PRODUCT_UUID, &hex::encode(hashed(uuid.trim()))),
        Err(_) => Ok(()),
    }
}

fn hashed(machine: &str) -> Vec<u8> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(APPLICATION).expect("HMAC takes a key of any length");
    mac.update(machine.to_lowercase().as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_stable_and_the_session_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(PRODUCT_UUID), "4C4C4544-0042\n").unwrap();
        let (one, two) = (
            Instance::read(dir.path()).unwrap(),
            Instance::read(dir.path()).unwrap(),
        );
        assert_eq!(one.id, two.id);
        assert_eq!(one.id.len(), 32);
        assert_ne!(one.session, two.session);
        assert_eq!(one.id, hashed("4c4c4544-0042"));
    }
}
