//! SPIRE: its binaries, and a server and an agent in a VM under `/opt/spire`, as in the walk-through.

use std::path::PathBuf;

use anyhow::Result;

use crate::go;
use crate::pki::{Pki, TRUST_DOMAIN};
use crate::vm::Vm;

/// Where the VM sees the binaries.
pub const BIN: &str = "/opt/spire/bin";

/// SPIRE's two programs on this machine.
#[derive(Clone, Debug)]
pub struct Binaries {
    server: PathBuf,
    agent: PathBuf,
}

impl Binaries {
    /// Those that `SPIRE_SERVER_BIN` and `SPIRE_AGENT_BIN` name, those in PATH, or ones built from the Go module
    /// beside this crate.
    pub fn find() -> Result<Self> {
        Ok(Self {
            server: find("SPIRE_SERVER_BIN", "spire-server")?,
            agent: find("SPIRE_AGENT_BIN", "spire-agent")?,
        })
    }

    /// What a VM needs to see of this machine.
    pub fn shared(&self) -> Vec<(PathBuf, String)> {
        vec![
            (self.server.clone(), format!("{BIN}/spire-server")),
            (self.agent.clone(), format!("{BIN}/spire-agent")),
        ]
    }
}

fn find(variable: &'static str, name: &'static str) -> Result<PathBuf> {
    go::Program {
        name,
        variable,
        module: "tests/lab/spire",
        package: &format!("github.com/spiffe/spire/cmd/{name}"),
        // The server's SQLite is C.
        cgo: true,
    }
    .find()
}

/// Puts SPIRE's configuration and units on the VM's disk. Starting them is a step of the walk-through.
pub fn install(vm: &Vm, pki: &Pki) -> Result<()> {
    let (server, agent) = (
        "opt/spire/conf/server/server.conf",
        "opt/spire/conf/agent/agent.conf",
    );
    vm.write(server, &server_configuration())?;
    vm.write(agent, &agent_configuration())?;
    vm.write("opt/spire/data/server/.keep", "")?;
    vm.write("opt/spire/data/agent/.keep", "")?;
    vm.copy(&pki.anchor, "opt/spire/conf/server/ca.crt")?;
    vm.copy(&pki.anchor_key, "opt/spire/conf/server/ca.key")?;
    vm.write(
        "etc/systemd/system/spire-server.service",
        &unit("server", &format!("run -config /{server}"), ""),
    )?;
    let agent_run = format!("run -config /{agent} -joinToken ${{JOIN_TOKEN}}");
    // The token is used once; a restarted agent goes on with the identity that it got for it.
    let environment = "EnvironmentFile=/opt/spire/conf/agent/token.env\n";
    vm.write(
        "etc/systemd/system/spire-agent.service",
        &unit("agent", &agent_run, environment),
    )
}

fn unit(which: &str, arguments: &str, environment: &str) -> String {
    let after = if which == "agent" {
        "spire-server.service"
    } else {
        "network-online.target"
    };
    format!(
        "[Unit]\nDescription=SPIRE {which}\nAfter={after}\nWants={after}\n\n[Service]\n{environment}\
         ExecStart={BIN}/spire-{which} {arguments}\nRestart=on-failure\nRestartSec=1\n\n[Install]\nWantedBy=multi-user.target\n"
    )
}

/// The walk-through's, and the shorter intervals that spare a test ten seconds.
fn server_configuration() -> String {
    format!(
        r#"server {{
    bind_address = "127.0.0.1"
    bind_port = "8081"
    trust_domain = "{TRUST_DOMAIN}"
    data_dir = "/opt/spire/data/server"
    log_level = "INFO"
    ca_ttl = "168h"
    default_x509_svid_ttl = "48h"
    experimental {{
        cache_reload_interval = "1s"
    }}
}}
plugins {{
    DataStore "sql" {{
        plugin_data {{
            database_type = "sqlite3"
            connection_string = "/opt/spire/data/server/datastore.sqlite3"
        }}
    }}
    KeyManager "disk" {{
        plugin_data {{
            keys_path = "/opt/spire/data/server/keys.json"
        }}
    }}
    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}
    UpstreamAuthority "disk" {{
        plugin_data {{
            cert_file_path = "/opt/spire/conf/server/ca.crt"
            key_file_path = "/opt/spire/conf/server/ca.key"
        }}
    }}
}}
"#
    )
}

fn agent_configuration() -> String {
    format!(
        r#"agent {{
    data_dir = "/opt/spire/data/agent"
    log_level = "INFO"
    server_address = "localhost"
    server_port = "8081"
    trust_domain = "{TRUST_DOMAIN}"
    trust_bundle_path = "/opt/spire/conf/server/ca.crt"
    experimental {{
        sync_interval = "1s"
    }}
}}
plugins {{
    KeyManager "disk" {{
        plugin_data {{
            directory = "/opt/spire/data/agent"
        }}
    }}
    NodeAttestor "join_token" {{
        plugin_data {{}}
    }}
    WorkloadAttestor "unix" {{
        plugin_data {{}}
    }}
}}
"#
    )
}
