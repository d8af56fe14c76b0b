//! What a program writes, in the order in which it writes it: all of it read, little of it kept.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use tokio::net::unix::pipe::Receiver;

/// More than this no probe has to say; who writes on would only keep us busy.
pub(super) const MOST: usize = 1024 * 1024;
/// Enough for the last words.
const KEPT: usize = 1024;
/// Characters of the last words. A message of health has room for them and for what was asked.
const WORDS: usize = 160;

/// The reading end.
#[derive(Debug)]
pub(super) struct Output {
    pipe: Receiver,
    /// The newest bytes.
    tail: Vec<u8>,
    read: usize,
}

// === impl Output ===

impl Output {
    /// A pipe, and what the program gets of it as its output and its errors.
    pub(super) fn new() -> io::Result<(Self, [Stdio; 2])> {
        let (reader, writer) = io::pipe()?;
        let both = [writer.try_clone()?.into(), writer.into()];
        let output = Self {
            pipe: Receiver::from_owned_fd(OwnedFd::from(reader))?,
            tail: Vec::new(),
            read: 0,
        };
        Ok((output, both))
    }

    /// Reads for ever; ends when it was too much.
    pub(super) async fn read_on(&mut self) {
        while self.read < MOST {
            if self.pipe.readable().await.is_err() || self.read_some() == Some(0) {
                // Closed by all who had it: nothing more comes, and the program's end is another matter.
                return std::future::pending().await;
            }
        }
    }

    /// Reads what was written before the end.
    pub(super) fn read_rest(&mut self) {
        while self.read < MOST && self.read_some().is_some_and(|read| read > 0) {}
    }

    /// How much was read; `None` when there is nothing to read now.
    fn read_some(&mut self) -> Option<usize> {
        let mut bytes = [0; 16 * 1024];
        match self.pipe.try_read(&mut bytes) {
            Ok(read) => {
                self.read += read;
                self.tail.extend(bytes.iter().take(read));
                let surplus = self.tail.len().saturating_sub(KEPT);
                self.tail.drain(..surplus);
                Some(read)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        }
    }

    /// The end of what it said, on one line and without what could drive a terminal.
    pub(super) fn last_words(&self) -> String {
        last_words(&self.tail)
    }
}

fn last_words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.replace(char::is_control, " ").trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let line = lines.join("; ");
    let surplus = line.chars().count().saturating_sub(WORDS);
    if surplus == 0 {
        line
    } else {
        let end: String = line.chars().skip(surplus).collect();
        format!("… {end}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_words_are_one_line_that_no_terminal_obeys() {
        assert_eq!(last_words(b""), "");
        assert_eq!(last_words(b"\n a \r\n\n\x1b[2Jb\xff\n"), "a; [2Jb\u{fffd}");
        let long = last_words("é".repeat(500).as_bytes());
        assert_eq!(long.chars().count(), WORDS + 2);
        assert!(long.starts_with("… é"), "{long}");
    }

    proptest! {
        #[test]
        fn whatever_is_written_becomes_short_and_printable(bytes: Vec<u8>) {
            let words = last_words(&bytes);
            prop_assert!(words.chars().count() <= WORDS + 2);
            prop_assert!(!words.contains(char::is_control));
        }
    }
}
