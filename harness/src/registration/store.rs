//! The last assignment on disk, so that a VM boots while the controller is away.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use linkerd_harness_core::assignment::Assignment;
use linkerd_harness_core::names::GroupRef;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// What is kept: the assignment with the group that it was made for.
#[derive(Serialize, Deserialize)]
struct Kept {
    group: GroupRef,
    assignment: Assignment,
}

/// The kept assignment, if there is one for `group`. What cannot be read is not used, and said.
pub fn load(path: &Path, group: &GroupRef) -> Option<Assignment> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(%error, "cannot read `{}`, waiting for the controller instead", path.display());
            return None;
        }
    };
    match serde_json::from_str::<Kept>(&text) {
        Ok(kept) => (kept.group == *group).then_some(kept.assignment),
        Err(error) => {
            warn!(%error, "`{}` is not an assignment, waiting for the controller instead", path.display());
            None
        }
    }
}

/// Replaces the kept assignment: the old one or the new one is there, whatever happens meanwhile.
///
/// # Errors
/// The file system's.
pub fn save(path: &Path, group: &GroupRef, assignment: &Assignment) -> io::Result<()> {
    let kept = Kept {
        group: group.clone(),
        assignment: assignment.clone(),
    };
    let text = serde_json::to_string_pretty(&kept)?;
    let next = path.with_extension("json.next");
    let mut file = File::create(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_assignment() -> Assignment {
        let text = include_str!("store/assignment.json");
        serde_json::from_str(text).unwrap()
    }

    fn mk_group(name: &str) -> GroupRef {
        GroupRef {
            namespace: "training".parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    #[test]
    fn what_was_saved_is_loaded_for_the_same_group_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assignment.json");
        assert_eq!(load(&path, &mk_group("training-vm")), None);
        save(&path, &mk_group("training-vm"), &mk_assignment()).unwrap();
        assert_eq!(load(&path, &mk_group("training-vm")), Some(mk_assignment()));
        assert_eq!(load(&path, &mk_group("other")), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_truncated_file_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assignment.json");
        fs::write(&path, "{\"group\": {").unwrap();
        assert_eq!(load(&path, &mk_group("training-vm")), None);
    }
}
