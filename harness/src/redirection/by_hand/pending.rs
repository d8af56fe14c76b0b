//! What waits to be confirmed, as files in a directory of root's.
//!
//! Only what root (or we ourselves) wrote counts, and each file says what it is and for which id, so that one cannot be
//! passed off as the other. Where somebody calls us who is not root, the directory is the daemon's, whose unprivileged user
//! can rename and delete there: the worst that he can do is to have the rules taken back.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::str::FromStr;

use rand::Rng;

use super::error::Error;
use super::place;
use crate::redirection::run_file;

/// Says which id waits.
const PENDING: &str = "redirect-pending";

/// Names one hold among others; not to be guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(String);

/// The text is no [`Id`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not 32 digits of 0-9 and a-f")]
pub struct InvalidId;

/// What a file says of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Confirmed, or called off: the rules are not to be taken back.
    Settled,
    /// Somebody is there to take them back.
    Watched,
}

/// What the newest hold came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It waits to be confirmed.
    Waits(Id),
    /// Nobody confirmed it in time.
    TakenBack(Id),
    /// Nobody confirmed it in time, and the daemon has the rules.
    LeftToDaemon(Id),
}

/// A new id, which waits from now on, in place of any other.
pub(super) fn begin(place: &Path) -> Result<Id, Error> {
    let id = Id(hex::encode(rand::rng().random::<[u8; 16]>()));
    wait_for(place, &id)?;
    Ok(id)
}

/// Lets wait what waited before this one, which comes to nothing. It is settled, in case somebody takes it back yet.
pub(super) fn undo(place: &Path, id: &Id, before: Option<&Id>) -> Result<(), Error> {
    let settled = settle(place, id);
    match before {
        Some(before) => wait_for(place, before)?,
        None => remove(place, PENDING).map_err(|source| Error::File {
            path: place.join(PENDING),
            source,
        })?,
    }
    settled
}

/// Lets this one wait, in place of any other.
fn wait_for(place: &Path, id: &Id) -> Result<(), Error> {
    write(place, PENDING, &format!("pending {id}\n"))
}

/// Says what became of one that nobody confirmed, unless another one waits by now.
pub(super) fn end(place: &Path, end: Standing) -> Result<(), Error> {
    let (word, id) = match end {
        Standing::Waits(_) => return Ok(()),
        Standing::TakenBack(id) => ("taken-back", id),
        Standing::LeftToDaemon(id) => ("left-to-daemon", id),
    };
    if current(place).as_ref() != Some(&id) {
        return Ok(());
    }
    write(place, PENDING, &format!("{word} {id}\n"))
}

/// The newest hold.
pub(super) fn standing(place: &Path) -> Option<Standing> {
    let text = run_file::read_trusted(place, PENDING)?;
    let (word, id) = text.trim_end().split_once(' ')?;
    let id = id.parse().ok()?;
    match word {
        "pending" => Some(Standing::Waits(id)),
        "taken-back" => Some(Standing::TakenBack(id)),
        "left-to-daemon" => Some(Standing::LeftToDaemon(id)),
        _ => None,
    }
}

/// The id that waits.
pub(super) fn current(place: &Path) -> Option<Id> {
    match standing(place)? {
        Standing::Waits(id) => Some(id),
        Standing::TakenBack(_) | Standing::LeftToDaemon(_) => None,
    }
}

/// Says that this one is not to be taken back.
pub(super) fn settle(place: &Path, id: &Id) -> Result<(), Error> {
    say(place, Word::Settled, id)
}

/// Whether it was said.
pub(super) fn is_settled(place: &Path, id: &Id) -> bool {
    is_said(place, Word::Settled, id)
}

pub(super) fn say(place: &Path, word: Word, id: &Id) -> Result<(), Error> {
    write(place, &word.file(id), &format!("{word} {id}\n"))
}

pub(super) fn is_said(place: &Path, word: Word, id: &Id) -> bool {
    run_file::read_trusted(place, &word.file(id)) == Some(format!("{word} {id}\n"))
}

/// Takes away what there is of this id.
pub(super) fn forget(place: &Path, id: &Id) -> io::Result<()> {
    let mut names = vec![Word::Settled.file(id), Word::Watched.file(id)];
    if current(place).as_ref() == Some(id) {
        names.push(PENDING.to_owned());
    }
    let gone = |name: String| remove(place, &name);
    names.into_iter().map(gone).fold(Ok(()), io::Result::and)
}

fn remove(place: &Path, name: &str) -> io::Result<()> {
    match std::fs::remove_file(place.join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write(place: &Path, name: &str, text: &str) -> Result<(), Error> {
    let written = place::make(place).and_then(|()| run_file::write(place, name, text));
    written.map_err(|source| Error::File {
        path: place.join(name),
        source,
    })
}

impl Word {
    fn file(self, id: &Id) -> String {
        format!("redirect-{self}-{id}")
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settled => "settled",
            Self::Watched => "watched",
        })
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let valid = text.len() == 32 && digits;
        valid.then(|| Self(text.to_owned())).ok_or(InvalidId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_waits_until_it_is_settled_and_another_is_not_settled_by_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        assert_eq!(current(run), None);
        let first = begin(run).unwrap();
        let second = begin(run).unwrap();
        assert_eq!(current(run), Some(second.clone()));
        settle(run, &second).unwrap();
        assert!(is_settled(run, &second));
        assert!(!is_settled(run, &first));
        forget(run, &first).unwrap();
        assert_eq!(current(run), Some(second.clone()));
        forget(run, &second).unwrap();
        assert_eq!(std::fs::read_dir(run).unwrap().count(), 0);
    }

    #[test]
    fn what_waits_cannot_be_renamed_into_its_own_confirmation() {
        let dir = tempfile::tempdir().unwrap();
        let id = begin(dir.path()).unwrap();
        let confirmation = dir.path().join(Word::Settled.file(&id));
        std::fs::rename(dir.path().join(PENDING), confirmation).unwrap();
        assert!(!is_settled(dir.path(), &id));
        say(dir.path(), Word::Watched, &id).unwrap();
        let watched = dir.path().join(Word::Watched.file(&id));
        std::fs::rename(watched, dir.path().join(Word::Settled.file(&id))).unwrap();
        assert!(!is_settled(dir.path(), &id));
    }

    #[test]
    fn an_id_is_no_path() {
        assert!("../../../etc/passwd".parse::<Id>().is_err());
        assert!("A".repeat(32).parse::<Id>().is_err());
        assert!("0".repeat(32).parse::<Id>().is_ok());
    }
}
