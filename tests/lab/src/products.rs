//! What is tried in the lab: the package and the programs around it, built by cargo from this source tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{exec, place, screen};

/// Set by `make`, which builds everything once and then runs several tests at a time: with it, they build nothing.
const PREPARED: &str = "LAB_PREPARED";

/// Everything of ours that the lab uses.
#[derive(Clone, Debug)]
pub struct Products {
    /// The Debian package.
    pub package: PathBuf,
    /// The control plane.
    pub autoregistration: PathBuf,
    /// Linkerd's proxy, or what takes its place.
    pub proxy: Proxy,
    /// The application, statically linked.
    pub echo: PathBuf,
}

/// Which proxy carries the traffic.
#[derive(Clone, Debug)]
pub enum Proxy {
    /// The real linkerd2-proxy.
    Real(PathBuf),
    /// The stand-in of this source tree.
    StandIn(PathBuf),
}

/// What takes the place of Linkerd's controllers.
#[derive(Clone, Debug)]
pub struct StandIns {
    /// The controllers, in plaintext.
    pub controllers: PathBuf,
    /// The proxy in front of them.
    pub sidecar: PathBuf,
}

impl Proxy {
    /// The binary.
    pub fn path(&self) -> &Path {
        match self {
            Self::Real(path) | Self::StandIn(path) => path,
        }
    }

    /// Says plainly which one it is.
    pub fn describe(&self) -> String {
        match self {
            Self::Real(path) => format!(
                "proxy: linkerd2-proxy, from LINKERD2_PROXY_BIN ({})",
                path.display()
            ),
            Self::StandIn(_) => {
                "proxy: a STAND-IN of this source tree (tests/stand-in-proxy), not Linkerd's own; \
                                 set LINKERD2_PROXY_BIN to run with the real linkerd2-proxy"
                    .to_owned()
            }
        }
    }
}

impl Products {
    /// Builds what takes the place of Linkerd's own controllers beside an API server, and of their proxy.
    pub fn stand_in_controllers() -> Result<StandIns> {
        if !is_prepared() {
            cargo(
                "the stand-in for Linkerd's controllers",
                &["build", "--quiet", "--package", "stand-in-controllers"],
            )?;
        }
        let programs = place::target().join("debug");
        Ok(StandIns {
            controllers: built(programs.join("stand-in-controllers"))?,
            sidecar: built(programs.join("stand-in-sidecar"))?,
        })
    }

    /// Builds what is not up to date.
    pub fn build() -> Result<Self> {
        if !is_prepared() {
            Self::build_package()?;
        }
        let programs = place::target().join("debug");
        // As the unit tests build them: optimised they cost minutes, and nothing that is measured runs in them.
        let mut wanted = vec!["build", "--quiet", "--package", "autoregistration"];
        let proxy = if let Some(named) = std::env::var_os("LINKERD2_PROXY_BIN") {
            let named = PathBuf::from(named);
            Proxy::Real(
                fs::canonicalize(&named)
                    .with_context(|| format!("LINKERD2_PROXY_BIN names `{}`", named.display()))?,
            )
        } else {
            wanted.extend(["--package", "stand-in-proxy"]);
            Proxy::StandIn(programs.join("stand-in-proxy"))
        };
        if !is_prepared() {
            cargo("the control plane and the proxy", &wanted)?;
        }
        built(proxy.path().to_owned())?;
        Ok(Self {
            package: built(package())?,
            autoregistration: built(programs.join("autoregistration"))?,
            proxy,
            echo: echo()?,
        })
    }

    /// Builds what goes into a VM and is not tried by any other test: the package, and the application.
    pub fn prepare() -> Result<()> {
        Self::build_package()?;
        echo().map(|_| ())
    }

    fn build_package() -> Result<()> {
        cargo(
            "the programs of the package",
            &[
                "build",
                "--quiet",
                "--release",
                "--package",
                "linkerd-proxy-harness",
                "--package",
                "harnessctl",
            ],
        )?;
        let output = package();
        let output = output.to_string_lossy();
        cargo(
            "the package",
            &[
                "deb",
                "--quiet",
                "--no-build",
                "--package",
                "linkerd-proxy-harness",
                "--output",
                &output,
            ],
        )
    }
}

fn is_prepared() -> bool {
    std::env::var_os(PREPARED).is_some()
}

fn built(program: PathBuf) -> Result<PathBuf> {
    if !program.exists() {
        bail!(
            "`{}` is missing; `make lab` builds it, and so does a test without {PREPARED}",
            program.display()
        );
    }
    Ok(program)
}

/// Where the package is written; its name is the one that a release has.
fn package() -> PathBuf {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    place::target().join("debian").join(format!(
        "linkerd-proxy-harness_{}_{architecture}.deb",
        env!("CARGO_PKG_VERSION")
    ))
}

fn cargo(what: &str, arguments: &[&str]) -> Result<()> {
    let tools = place::target().join("tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path)))
        .context("extend PATH")?;
    screen::working(&format!("building {what}"), || {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(place::source())
            .env("PATH", path)
            .args(arguments)
            .stdin(Stdio::null());
        // Cargo sets these for us, and they would make it build everything again for the inner cargo, then for the outer.
        let of_this_crate = |name: &str| {
            ["CARGO_PKG_", "CARGO_MANIFEST_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        };
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| of_this_crate(&name.to_string_lossy()))
        {
            cargo.env_remove(name);
        }
        exec::run(&mut cargo)?.ok().map(|_| ())
    })
}

/// The application is one file and needs no cargo; linked statically it runs in a container that has nothing else.
fn echo() -> Result<PathBuf> {
    let source = place::source().join("tests/lab/src/bin/echo.rs");
    let binary = place::cache().join("bin/echo");
    if is_prepared() {
        return built(binary);
    }
    let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
    if changed(&binary).is_ok_and(|built| changed(&source).is_ok_and(|written| written <= built)) {
        return Ok(binary);
    }
    fs::create_dir_all(place::cache().join("bin")).context("make the lab's cache")?;
    let unfinished = binary.with_extension("part");
    let mut rustc = Command::new("rustc");
    rustc.current_dir(place::source()).args([
        "--edition=2024",
        "-O",
        "-Cstrip=symbols",
        "-Ctarget-feature=+crt-static",
        "-o",
    ]);
    let answer = exec::run(rustc.arg(&unfinished).arg(&source))?;
    if !answer.succeeded() {
        bail!("build the lab's application: {answer}");
    }
    fs::rename(&unfinished, &binary).context("name the finished application")?;
    Ok(binary)
}
