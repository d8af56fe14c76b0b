//! What the proxy writes, line by line.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{ChildStderr, ChildStdout};

/// Longer lines are cut here.
const MAX_LINE: usize = 8 * 1024;

/// Both streams of the child.
#[derive(Debug)]
pub(super) struct Output {
    stdout: Option<Lines<ChildStdout>>,
    stderr: Option<Lines<ChildStderr>>,
}

/// One line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The proxy's log.
    Log(String),
    /// Panics, last words, and the access log.
    Plain(String),
}

/// Lines of one stream. Reading may be given up at any point and taken up again.
#[derive(Debug)]
struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

// === impl Output ===

impl Output {
    pub(super) fn new(stdout: Option<ChildStdout>, stderr: Option<ChildStderr>) -> Self {
        Self {
            stdout: stdout.map(Lines::new),
            stderr: stderr.map(Lines::new),
        }
    }

    /// The next line of either stream; `None` when both have ended.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            let (line, from_log) = match (&mut self.stdout, &mut self.stderr) {
                (None, None) => return None,
                (Some(stdout), None) => (stdout.next().await, true),
                (None, Some(stderr)) => (stderr.next().await, false),
                (Some(stdout), Some(stderr)) => tokio::select! {
                    line = stdout.next() => (line, true),
                    line = stderr.next() => (line, false),
                },
            };
            match (line, from_log) {
                (Some(line), true) => return Some(Line::Log(line)),
                (Some(line), false) => return Some(Line::Plain(line)),
                (None, true) => self.stdout = None,
                (None, false) => self.stderr = None,
            }
        }
    }
}

// === impl Lines ===

impl<R: AsyncRead + Unpin> Lines<R> {
    fn new(stream: R) -> Self {
        Self {
            reader: BufReader::with_capacity(4096, stream),
            line: Vec::new(),
        }
    }

    /// The next line; a stream that cannot be read has ended.
    async fn next(&mut self) -> Option<String> {
        loop {
            let bytes = self.reader.fill_buf().await.unwrap_or_default();
            if bytes.is_empty() {
                return (!self.line.is_empty()).then(|| self.take());
            }
            let end = bytes.iter().position(|b| *b == b'\n');
            let used = end.map_or(bytes.len(), |end| end + 1);
            let room = (MAX_LINE + 1).saturating_sub(self.line.len());
            self.line
                .extend(bytes.iter().take(end.unwrap_or(used)).take(room));
            self.reader.consume(used);
            if end.is_some() {
                return Some(self.take());
            }
        }
    }

    /// As text that cannot drive a terminal: the proxy may log what strangers sent it.
    fn take(&mut self) -> String {
        let cut = self.line.len() > MAX_LINE;
        self.line.truncate(MAX_LINE);
        let text = String::from_utf8_lossy(&self.line);
        let mut text: String = text
            .trim_end_matches('\r')
            .chars()
            .map(|c| {
                if c.is_control() && c != '\t' {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            })
            .collect();
        if cut {
            text.push('…');
        }
        self.line.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(bytes);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_come_out_as_they_went_in() {
        assert_eq!(lines(b"a\n\nb c\r\nlast").await, ["a", "", "b c", "last"]);
    }

    #[tokio::test]
    async fn long_lines_are_cut_and_the_next_is_whole() {
        let text = format!("{}\nnext\n", "x".repeat(MAX_LINE * 3));
        let lines = lines(text.as_bytes()).await;
        assert_eq!(lines[0], format!("{}…", "x".repeat(MAX_LINE)));
        assert_eq!(lines[1..], ["next"]);
    }

    #[tokio::test]
    async fn what_strangers_sent_cannot_drive_a_terminal() {
        assert_eq!(
            lines(b"a\x1b[31mb\tc\xff\n").await,
            ["a\u{fffd}[31mb\tc\u{fffd}"]
        );
    }
}
