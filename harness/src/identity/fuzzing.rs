//! For the fuzz targets only: the checks of what SPIRE gives.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::check::{Offered, certify};

/// Whether an SVID of one certificate passes all checks against one anchor.
pub fn svid(id: &str, leaf: &[u8], key: &[u8], anchor: &[u8]) -> bool {
    let offered = Offered {
        spiffe_id: id.to_owned(),
        chain: vec![CertificateDer::from(leaf.to_vec())],
        key: PrivatePkcs8KeyDer::from(key.to_vec()),
        bundle: vec![CertificateDer::from(anchor.to_vec())],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    certify(offered, None, &provider, SystemTime::now()).is_ok()
}
