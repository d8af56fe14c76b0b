//! What is known about a key: the one description from which the JSON, the flags of `harnessctl set-config`,
//! `get-config`, the help and the documents follow.

/// A key of the configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Place in the JSON, sections separated by dots: `Identity.Backoff.Min`.
    pub path: &'static str,
    /// Flag of `harnessctl set-config`, without the dashes: `identity-backoff-min`.
    pub flag: &'static str,
    /// What one value is.
    pub kind: Kind,
    /// Whether the value is a list: a JSON array, comma-separated on the command line.
    pub list: bool,
    /// What holds when the key is not set.
    pub fallback: Fallback,
    /// One line for people.
    pub help: &'static str,
    /// An earlier name in the JSON that is still understood.
    pub old_path: Option<&'static str>,
}

/// What one value of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ip:port`.
    Address,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `100ms`, `1m30s`; a bare `0`.
    Duration,
    /// `info` or `info,identity=debug`.
    Filter,
    /// A number from 0 to 1.
    Fraction,
    /// `host:port`.
    HostPort,
    /// An IP address.
    Ip,
    /// A DNS label.
    Label,
    /// A label of the workload, `key=value`.
    Pair,
    /// A DNS name.
    Name,
    /// An absolute path.
    Path,
    /// A port or a range of ports.
    Port,
    /// A SPIFFE ID.
    SpiffeId,
    /// A network, `10.0.0.0/8`; a bare address is a network of one.
    Subnet,
    /// A numeric user id.
    UserId,
}

/// What holds when a key is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: the key must be set.
    Required,
    /// This text, as it would be given to the flag.
    Value(&'static str),
    /// One text for IPv4 only, another when `IPv6` is true.
    ByFamily {
        /// When `IPv6` is false.
        ipv4: &'static str,
        /// When `IPv6` is true.
        both: &'static str,
    },
    /// Found out by the daemon; the text says how, for people.
    Computed(&'static str),
}

// === impl Key ===

impl Key {
    pub(super) const fn new(
        path: &'static str,
        flag: &'static str,
        kind: Kind,
        fallback: Fallback,
        help: &'static str,
    ) -> Self {
        Self {
            path,
            flag,
            kind,
            list: false,
            fallback,
            help,
            old_path: None,
        }
    }

    pub(super) const fn list(mut self) -> Self {
        self.list = true;
        self
    }

    pub(super) const fn once_named(mut self, path: &'static str) -> Self {
        self.old_path = Some(path);
        self
    }

    /// Whether there is no default.
    pub fn required(&self) -> bool {
        matches!(self.fallback, Fallback::Required)
    }

    /// The default as text, where it is a fixed one.
    pub fn default_text(&self, ipv6: bool) -> Option<&'static str> {
        match self.fallback {
            Fallback::Value(text) => Some(text),
            Fallback::ByFamily { both, .. } if ipv6 => Some(both),
            Fallback::ByFamily { ipv4, .. } => Some(ipv4),
            Fallback::Required | Fallback::Computed(_) => None,
        }
    }

    /// Placeholder for the value in help and remedies: `HOST:PORT`, `PORT,...`.
    pub fn placeholder(&self) -> String {
        let one = match self.kind {
            Kind::Address => "IP:PORT",
            Kind::Bool => "true|false",
            Kind::Choice(words) => return words.join("|"),
            Kind::Duration => "DURATION",
            Kind::Filter => "FILTER",
            Kind::Fraction => "FRACTION",
            Kind::HostPort => "HOST:PORT",
            Kind::Ip => "IP",
            Kind::Label | Kind::Name => "NAME",
            Kind::Pair => "KEY=VALUE",
            Kind::Path => "PATH",
            Kind::Port => "PORT",
            Kind::SpiffeId => "ID",
            Kind::Subnet => "CIDR",
            Kind::UserId => "UID",
        };
        if self.list {
            format!("{one},...")
        } else {
            one.to_owned()
        }
    }

    /// The flag with a placeholder, as one types it.
    pub fn usage(&self) -> String {
        format!("--{}={}", self.flag, self.placeholder())
    }
}
