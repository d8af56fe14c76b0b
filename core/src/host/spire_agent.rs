//! Which SPIRE server the agent of this host talks to: from its command line and its configuration, HCL or JSON. Only
//! `server_address` and `server_port` are looked for, so nothing else of the file need be understood.

use crate::names::HostPort;

/// Where `spire-agent run` looks for its configuration, below its working directory.
const CONFIG: &str = "conf/agent/agent.conf";

/// The server's port where nothing names one.
const PORT: u16 = 8081;

/// What the agent was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// `-config`; below the agent's working directory unless it begins with `/`.
    config: Option<String>,
    /// `-serverAddress`, which wins over the file.
    address: Option<String>,
    /// `-serverPort`.
    port: Option<String>,
}

// === impl CommandLine ===

impl CommandLine {
    /// From `/proc/<pid>/cmdline`. Flags as Go reads them: one or two dashes, the value behind `=` or next.
    pub fn parse(cmdline: &[u8]) -> Self {
        let mut found = Self::default();
        let text = String::from_utf8_lossy(cmdline);
        let mut words = text.split('\0');
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let slot = match name {
                "config" => &mut found.config,
                "serverAddress" => &mut found.address,
                "serverPort" => &mut found.port,
                _ => continue,
            };
            *slot = value.or_else(|| words.next()).map(str::to_owned);
        }
        found
    }

    /// The agent's configuration file.
    pub fn config(&self) -> &str {
        self.config.as_deref().unwrap_or(CONFIG)
    }

    /// The server, from the flags and from the text of the file.
    pub fn server(&self, config: &str) -> Option<HostPort> {
        let value = |flag: &Option<String>, key| flag.clone().or_else(|| value_of(config, key));
        let address = value(&self.address, "server_address")?;
        let port = match value(&self.port, "server_port") {
            Some(port) => port.parse().ok()?,
            None => PORT,
        };
        let host = if address.contains(':') {
            format!("[{}]", address.trim_matches(['[', ']']))
        } else {
            address
        };
        format!("{host}:{port}").parse().ok()
    }
}

/// A piece of HCL or JSON.
#[derive(Debug, PartialEq)]
enum Token {
    /// Quoted or not.
    Word(String),
    /// `=` or `:`, between a key and its value.
    Is,
    Other,
}

fn value_of(config: &str, key: &str) -> Option<String> {
    let tokens = tokens(config);
    tokens.windows(3).find_map(|three| match three {
        [Token::Word(name), Token::Is, Token::Word(value)] if name == key => Some(value.clone()),
        _ => None,
    })
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let mut chars = rest.chars();
        let Some(first) = chars.next() else {
            return found;
        };
        let behind = chars.as_str();
        if first == '#' || rest.starts_with("//") {
            rest = rest.split_once('\n').map_or("", |(_, behind)| behind);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, behind)| behind);
        } else if first == '"' {
            let (word, behind) = quoted(behind);
            found.push(Token::Word(word));
            rest = behind;
        } else if is_bare(first) {
            let end = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            found.push(Token::Word(word.to_owned()));
            rest = behind;
        } else {
            match first {
                '=' | ':' => found.push(Token::Is),
                _ if first.is_whitespace() => {}
                _ => found.push(Token::Other),
            }
            rest = behind;
        }
    }
}

fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// The string up to its quote, and what is behind it. A name has no escapes, so a backslash is only stepped over.
fn quoted(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return (word, chars.as_str()),
            '\\' => word.extend(chars.next()),
            _ => word.push(c),
        }
    }
    (word, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the walk-through of Linkerd's manual mesh expansion writes it.
    const HCL: &str = r#"
agent {
    data_dir = "/opt/spire/data/agent" # server_address = "commented.example"
    // server_address = "commented.example"
    /* server_address = "commented.example" */
    log_level = "DEBUG"
    trust_domain = "root.linkerd.cluster.local"
    server_address = "spire.example"
    server_port = 8085
    insecure_bootstrap = true
}
plugins {
   KeyManager "disk" { plugin_data { directory = "/opt/spire/data/agent" } }
}
"#;

    fn server(arguments: &[&str], config: &str) -> Option<String> {
        let cmdline = arguments.join("\0") + "\0";
        let found = CommandLine::parse(cmdline.as_bytes()).server(config)?;
        Some(found.to_string())
    }

    #[test]
    fn both_languages_are_read() {
        let run = ["/opt/spire/bin/spire-agent", "run"];
        assert_eq!(server(&run, HCL).unwrap(), "spire.example:8085");
        let json = r#"{"agent":{"server_address":"192.0.2.1","server_port":"8086"}}"#;
        assert_eq!(server(&run, json).unwrap(), "192.0.2.1:8086");
        let bare = "agent { server_address=\"2001:db8::1\"\n}";
        assert_eq!(server(&run, bare).unwrap(), "[2001:db8::1]:8081");
        assert_eq!(server(&run, "agent { trust_domain = \"x\" }"), None);
        let from_environment = "server_address = \"${SPIRE}\"";
        assert_eq!(server(&run, from_environment), None);
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = [
            "spire-agent",
            "run",
            "-config",
            "/etc/agent.conf",
            "--serverAddress=other.example",
            "-serverPort",
            "443",
        ];
        assert_eq!(server(&flags, HCL).unwrap(), "other.example:443");
        assert_eq!(server(&flags, "unreadable {").unwrap(), "other.example:443");
        let line = CommandLine::parse((flags.join("\0") + "\0").as_bytes());
        assert_eq!(line.config(), "/etc/agent.conf");
        assert_eq!(CommandLine::parse(b"spire-agent\0run\0").config(), CONFIG);
        assert_eq!(CommandLine::parse(b"spire-agent\0-config\0").config(), "");
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(cmdline: Vec<u8>, config in any::<String>(), piece in "[\"/*#=:{}\\\\\n a-z_]{0,60}") {
            let line = CommandLine::parse(&cmdline);
            line.server(&config);
            line.server(&format!("server_address = {piece}"));
            line.server(&format!("{piece} server_address = \"a\""));
        }

        #[test]
        fn the_server_is_found_wherever_it_stands(
            host in "[a-z]{1,10}(\\.[a-z]{1,10}){0,3}",
            port in 1_u16..,
            before in "([a-z_]{1,8} = \"[a-z/]{0,8}\"( # [a-z\" ]{0,9})?\n){0,4}",
            spaces in " {0,3}",
        ) {
            let is = format!("{spaces}={spaces}");
            let hcl = format!("{before}agent {{\n server_port{is}{port}\n{before} server_address{is}\"{host}\"\n}}");
            prop_assume!(!before.contains("server_"));
            prop_assert_eq!(server(&[], &hcl), Some(format!("{host}:{port}")));
        }
    }
}
