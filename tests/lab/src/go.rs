//! Programs that others write in Go: one that is at hand, or one built once from a module beside this crate.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{exec, place, screen};

/// A program and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Name of the binary.
    pub name: &'a str,
    /// Environment variable that names one to use instead.
    pub variable: &'a str,
    /// Directory of the Go module that pins it, from the root of the source tree.
    pub module: &'a str,
    /// Import path of its `main`.
    pub package: &'a str,
    /// Whether it has parts in C.
    pub cgo: bool,
}

// === impl Program ===

impl Program<'_> {
    /// The one that the environment variable names, the one in PATH, or one built and kept.
    pub fn find(&self) -> Result<PathBuf> {
        if let Some(named) = std::env::var_os(self.variable) {
            let named = PathBuf::from(named);
            return fs::canonicalize(&named)
                .with_context(|| format!("{} names `{}`", self.variable, named.display()));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        if let Some(found) = std::env::split_paths(&path)
            .map(|dir| dir.join(self.name))
            .find(|file| file.is_file())
        {
            return Ok(found);
        }
        self.build(&place::cache().join("bin"))
    }

    fn build(&self, bin: &Path) -> Result<PathBuf> {
        fs::create_dir_all(bin).with_context(|| format!("make `{}`", bin.display()))?;
        let file = |extension: &str| bin.join(format!("{}.{extension}", self.name));
        // Tests run side by side; the first one builds.
        let lock = File::create(file("lock")).context("make a lock file")?;
        lock.lock().context("wait for another build")?;
        let module = place::source().join(self.module);
        let pinned = fs::read_to_string(module.join("go.mod"))
            .with_context(|| format!("read the go.mod of {}", self.name))?;
        let (built, unfinished, of) = (bin.join(self.name), file("part"), file("mod"));
        // Built from other versions it is built again.
        if built.exists() && fs::read_to_string(&of).is_ok_and(|text| text == pinned) {
            return Ok(built);
        }
        screen::working(&format!("building {} with Go, once", self.name), || {
            let mut go = Command::new("go");
            // Without symbols: half the size.
            go.current_dir(&module)
                .env("CGO_ENABLED", if self.cgo { "1" } else { "0" })
                .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
                .arg(&unfinished)
                .arg(self.package);
            exec::run(&mut go)?.ok()
        })?;
        fs::rename(&unfinished, &built).context("name the finished program")?;
        fs::write(&of, pinned).context("note what it was built from")?;
        Ok(built)
    }
}
