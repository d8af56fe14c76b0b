//! Whether somebody fights with us over the rules, and what follows.
//!
//! One who changed our rules gets them repaired at once. One who undoes the repairs again and again would get an endless
//! race, so then a repair is made every [`PAUSE`] or [`HELD_PAUSE`] only, and the operator is told who it is.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::netlink::Writer;

/// Repairs of so many deeds within [`WINDOW`] are a fight.
pub const REPAIRS: usize = 5;

/// In which repairs are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Repairs that are closer than this are of one deed: a firewalld that reloads flushes twice (measured).
pub const DEED: Duration = Duration::from_secs(1);

/// From one repair to the next in a fight.
pub const PAUSE: Duration = Duration::from_secs(10);

/// The same for a plan that is [held](super::Plan::is_held): while its rules are gone, traffic passes that must not.
pub const HELD_PAUSE: Duration = Duration::from_secs(1);

/// Without a repair: then a fight is over.
pub const CALM: Duration = Duration::from_secs(60);

/// So many repairs are told loudly; then not again before a [`LONG_CALM`].
const LOUD: u64 = 3;
const LONG_CALM: Duration = Duration::from_secs(3600);

/// So many writers are named.
const NAMED: usize = 4;

/// The repairs so far. Times are since any fixed moment, and never go back.
#[derive(Clone, Debug, Default)]
pub struct Contest {
    /// When, of those within [`WINDOW`], one for each [`DEED`] and at most [`REPAIRS`].
    recent: VecDeque<Duration>,
    held: bool,
    last: Option<Duration>,
    /// Repairs since the last [`LONG_CALM`].
    row: u64,
    suspects: Suspects,
    fight: Option<Fight>,
}

/// A fight. `Display` says it to people: who, how often, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fight {
    /// Who was there when rules of ours were undone.
    pub by: Suspects,
    /// How often they were undone.
    pub times: u64,
    /// When they were for the first time.
    pub since: Duration,
    /// When they were for the last time.
    pub last: Duration,
    /// From one repair to the next.
    pub pause: Duration,
}

/// The writers that may have undone rules of ours, each program once. `Display` says it to people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects(Vec<Suspect>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Suspect {
    /// What it did last.
    writer: Writer,
    /// Whether it was another process each time.
    several: bool,
}

/// What a repair means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether it is news.
    pub loud: bool,
    /// Whether a fight began with it.
    pub fight_began: bool,
}

// === impl Contest ===

impl Contest {
    /// Says whether the plan that is fought over is [held](super::Plan::is_held).
    pub fn set_held(&mut self, held: bool) {
        self.held = held;
        let pause = self.pause();
        if let Some(fight) = &mut self.fight {
            fight.pause = pause;
        }
    }

    /// Rules were repaired at this time, and these had changed the packet filter.
    pub fn repaired(&mut self, at: Duration, by: impl IntoIterator<Item = Writer>) -> Told {
        self.forget(at);
        if self
            .last
            .is_some_and(|last| at.saturating_sub(last) >= LONG_CALM)
        {
            self.row = 0;
        }
        self.row += 1;
        self.last = Some(at);
        if self.recent.is_empty() && self.fight.is_none() {
            self.suspects = Suspects::default();
        }
        self.suspects.extend(by);
        if self
            .recent
            .back()
            .is_none_or(|deed| at.saturating_sub(*deed) >= DEED)
        {
            self.recent.push_back(at);
        }
        let fights = self.fight.is_some();
        match (&mut self.fight, self.recent.front()) {
            (Some(fight), _) => {
                fight.times += 1;
                fight.last = at;
                fight.by = self.suspects.clone();
            }
            (None, Some(since)) if self.recent.len() >= REPAIRS => {
                self.fight = Some(Fight {
                    by: self.suspects.clone(),
                    times: REPAIRS as u64,
                    since: *since,
                    last: at,
                    pause: self.pause(),
                });
            }
            _ => {}
        }
        Told {
            loud: self.row <= LOUD,
            fight_began: self.fight.is_some() && !fights,
        }
    }

    /// Rules were found as they should be at this time. Answers the fight that is over with it.
    pub fn found_in_place(&mut self, at: Duration) -> Option<Fight> {
        self.forget(at);
        self.fight
            .take_if(|fight| at.saturating_sub(fight.last) >= CALM)
    }

    /// When the next repair may be made, where that is not at any time.
    pub fn not_before(&self) -> Option<Duration> {
        self.fight.as_ref().map(|fight| fight.last + fight.pause)
    }

    fn pause(&self) -> Duration {
        if self.held { HELD_PAUSE } else { PAUSE }
    }

    /// The fight that goes on.
    pub fn fight(&self) -> Option<&Fight> {
        self.fight.as_ref()
    }

    /// Whether there was a repair lately.
    pub fn repaired_lately(&self, at: Duration) -> bool {
        self.last.is_some_and(|last| at.saturating_sub(last) < CALM)
    }

    fn forget(&mut self, at: Duration) {
        while self.recent.len() > REPAIRS
            || self
                .recent
                .front()
                .is_some_and(|repair| at.saturating_sub(*repair) > WINDOW)
        {
            self.recent.pop_front();
        }
    }
}

// === impl Suspects ===

impl Suspects {
    /// Each program once, with its last process.
    fn extend(&mut self, writers: impl IntoIterator<Item = Writer>) {
        for writer in writers {
            let known = self
                .0
                .iter_mut()
                .find(|known| known.writer.name == writer.name);
            if let Some(known) = known {
                known.several |= known.writer.pid != writer.pid;
                known.writer = writer;
            } else if self.0.len() < NAMED {
                self.0.push(Suspect {
                    writer,
                    several: false,
                });
            }
        }
    }

    /// What an operator can do about the first of them that we know something about.
    fn advice(&self) -> &'static str {
        let mut names = self.0.iter().map(|suspect| suspect.writer.name.as_str());
        names
            .find_map(advice)
            .unwrap_or("find out what it is for and let it leave the chains PROXY_INIT_* and the jumps to them alone")
    }
}

impl FromIterator<Writer> for Suspects {
    fn from_iter<T: IntoIterator<Item = Writer>>(writers: T) -> Self {
        let mut all = Self::default();
        all.extend(writers);
        all
    }
}

fn advice(name: &str) -> Option<&'static str> {
    if name.starts_with("firewalld") {
        Some("IPTablesMode `nftables`, whose own table firewalld leaves alone")
    } else if name == "nft" {
        Some(
            "look for a file that begins with `flush ruleset` (systemctl status nftables; often /etc/nftables.conf), and for what loads it again and again",
        )
    } else if ["iptables", "ip6tables", "xtables"]
        .iter()
        .any(|start| name.starts_with(start))
    {
        Some("see what runs iptables again and again, for example with `execsnoop`")
    } else {
        None
    }
}

impl fmt::Display for Suspects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((last, rest)) = self.0.split_last() else {
            return f.write_str(
                "another program (the kernel does not tell which; for iptables-legacy it never does)",
            );
        };
        for suspect in rest {
            write!(f, "{suspect} or ")?;
        }
        write!(f, "{last}")
    }
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.several {
            write!(f, "{} (last pid {})", self.writer.name, self.writer.pid)
        } else {
            self.writer.fmt(f)
        }
    }
}

// === impl Fight ===

impl fmt::Display for Fight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasted = self.last.saturating_sub(self.since).as_secs().max(1);
        write!(
            f,
            "{} undid our rules {} times in {lasted} s; we repair every {} s only (try: {})",
            self.by,
            self.times,
            self.pause.as_secs(),
            self.by.advice()
        )
    }
}

#[cfg(test)]
mod tests;
