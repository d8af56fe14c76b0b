//! The root of the VMs: a small installation of the distribution that this machine runs, made once.
//!
//! The same distribution, because what is built here must run there, and because this machine's own mirror serves it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{exec, place, screen};

/// What a server has: a network, both packet filters, and what the package depends on.
const PACKAGES: &str =
    "systemd,systemd-sysv,dbus,iptables,nftables,iproute2,procps,curl,ca-certificates,kmod";
/// In a second step, by apt, which resolves what debootstrap does not. Each VM says what of it runs.
const FINISH: &str = "set -e
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends docker.io firewalld openssh-server
systemctl disable docker.service docker.socket containerd.service firewalld.service ssh.service
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
rm -f /etc/machine-id /var/lib/dbus/machine-id /etc/resolv.conf
";

/// The root directory, made when it is not there yet.
pub fn prepare() -> Result<PathBuf> {
    let distribution = Distribution::of_this_machine()?;
    let mut recipe = DefaultHasher::new();
    (PACKAGES, FINISH, &distribution.codename).hash(&mut recipe);
    let root = place::cache().join(format!(
        "rootfs-{}-{:08x}",
        distribution.codename,
        recipe.finish() & 0xffff_ffff
    ));
    if root.exists() {
        return Ok(root);
    }
    fs::create_dir_all(place::cache()).context("make the lab's cache")?;
    let lock = File::create(root.with_extension("lock")).context("make a lock file")?;
    lock.lock().context("wait for another installation")?;
    if root.exists() {
        return Ok(root);
    }
    let unfinished = root.with_extension("part");
    screen::working(
        &format!("installing {} for the VMs, once", distribution.codename),
        || {
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished).context("remove an unfinished root")?;
            }
            fs::create_dir_all(&unfinished).context("make the root of the VMs")?;
            distribution.install(&unfinished)?;
            let finish = Command::new("chroot")
                .arg(&unfinished)
                .args(["/bin/sh", "-c", FINISH])
                .output();
            let finish = finish.context("start chroot")?;
            if !finish.status.success() {
                bail!(
                    "install Docker, firewalld and sshd into the root of the VMs:\n{}",
                    String::from_utf8_lossy(&finish.stderr)
                );
            }
            fs::rename(&unfinished, &root).context("name the finished root")?;
            Ok(root)
        },
    )
}

/// Which distribution, and where its packages come from.
#[derive(Debug, PartialEq, Eq)]
struct Distribution {
    codename: String,
    mirror: String,
    components: &'static str,
}

impl Distribution {
    fn of_this_machine() -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
        let mut sources = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
        for entry in fs::read_dir("/etc/apt/sources.list.d")
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|ext| ext == "list" || ext == "sources")
            {
                // Paragraphs of two files must not run together.
                let _infallible = write!(
                    sources,
                    "\n\n{}",
                    fs::read_to_string(&path).unwrap_or_default()
                );
            }
        }
        Self::from_files(&release, &sources)
    }

    fn from_files(release: &str, sources: &str) -> Result<Self> {
        let value = |key: &str| {
            let line = release
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        let (Some(id), Some(codename)) = (value("ID"), value("VERSION_CODENAME")) else {
            bail!("/etc/os-release names no distribution; the lab runs on Debian and Ubuntu");
        };
        // Docker is in Ubuntu's universe.
        let components = match id.as_str() {
            "debian" => "main",
            "ubuntu" => "main,universe",
            other => bail!("the lab runs on Debian and Ubuntu, this is `{other}`"),
        };
        let mirror = mirror(sources, &codename).with_context(|| {
            format!("no mirror of `{codename}` in /etc/apt/sources.list and sources.list.d")
        })?;
        Ok(Self {
            codename,
            mirror,
            components,
        })
    }

    fn install(&self, root: &Path) -> Result<()> {
        let mut debootstrap = Command::new("debootstrap");
        debootstrap
            .arg("--variant=minbase")
            .arg(format!("--components={}", self.components));
        debootstrap
            .arg(format!("--include={PACKAGES}"))
            .args([&self.codename])
            .arg(root)
            .arg(&self.mirror);
        let answer = exec::run(&mut debootstrap)?;
        if !answer.succeeded() {
            let log =
                fs::read_to_string(root.join("debootstrap/debootstrap.log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(15).collect();
            bail!(
                "{answer}\n{}",
                last.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        Ok(())
    }
}

/// The first mirror in apt's `sources` (of either format) that has the suite `codename`.
fn mirror(sources: &str, codename: &str) -> Option<String> {
    let one_line = sources.lines().find_map(|line| {
        let line = line.trim().strip_prefix("deb ")?;
        // Options in brackets come first.
        let line = line
            .trim_start()
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .map_or(line, |(_, rest)| rest);
        let mut words = line.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        (suite == codename).then(|| uri.to_owned())
    });
    one_line.or_else(|| {
        sources.split("\n\n").find_map(|paragraph| {
            let field = |name: &str| {
                let line = paragraph
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
                Some(line.split_whitespace())
            };
            let has_suite = field("Suites")?.any(|suite| suite == codename);
            field("URIs")?
                .next()
                .filter(|_| has_suite)
                .map(str::to_owned)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_found_in_both_formats_of_apt() {
        let paragraphs = "Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\n\n\
                          Types: deb\n# why\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n";
        assert_eq!(
            mirror(paragraphs, "bookworm").as_deref(),
            Some("http://mirror.example/debian")
        );
        let lines = "# deb http://old.example noble main\ndeb-src http://s.example noble main\n\
                     deb [arch=amd64 signed-by=/x] http://mirror.example/ubuntu noble main universe\n";
        assert_eq!(
            mirror(lines, "noble").as_deref(),
            Some("http://mirror.example/ubuntu")
        );
        assert_eq!(mirror(lines, "jammy"), None);
    }

    #[test]
    fn a_distribution_without_apt_is_refused() {
        let refused = Distribution::from_files("ID=fedora\nVERSION_CODENAME=x\n", "").unwrap_err();
        assert!(
            refused.to_string().contains("Debian and Ubuntu"),
            "{refused}"
        );
    }
}
