//! What the values of some flags may be.

use std::time::Duration;

use ipnet::Ipv4Net;

/// At most a /28, so that there is room for Services.
pub(super) fn service_network(text: &str) -> Result<Ipv4Net, String> {
    let network = text
        .parse::<Ipv4Net>()
        .map_err(|_invalid| "is not an IPv4 network (for example 10.96.0.0/16)".to_owned())?;
    if network.prefix_len() > 28 {
        return Err("is too small; at most /28".to_owned());
    }
    if network.network().is_loopback() {
        return Err("is a loopback network, which proxies leave alone".to_owned());
    }
    Ok(network.trunc())
}

/// A VM opens a new session within 30 s of losing one, so that a shorter grace would call living VMs lost.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    let grace = duration(text)?;
    if grace < Duration::from_secs(30) {
        return Err("is too short; at least 30s, for VMs to come back after a restart".to_owned());
    }
    Ok(grace)
}

/// `500ms`, `10s`, `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let problem = || "is not a duration (for example 500ms, 10s or 2m)".to_owned();
    let number = digits.parse::<u32>().map_err(|_invalid| problem())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(u64::from(number) * 60)),
        _ => Err(problem()),
    }
}
