//! Candidates whose clocks differ and drift, that are paused, whose messages are late or lost, at a record that people
//! delete: never do two lead at one true moment, and when peace comes one leads.

use proptest::prelude::*;

use super::*;

/// True time goes in these.
const TICK: Duration = Duration::from_millis(250);
/// A request is given up after this, by the candidate's clock. It may still arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clocks run at this many percent of true time at least, and 200 minus it at most. 15 s / 10 s bounds the ratio.
const SLOWEST: u32 = 85;

#[derive(Clone, Debug)]
enum Fate {
    Nothing,
    /// The candidate is stopped for so many ticks, and goes on as if nothing had happened.
    Pause(usize, u32),
    /// Its next messages take so many ticks there and back. Whether answers come at all.
    Slow(usize, u32, u32, bool),
    /// Somebody deletes the record.
    Delete,
    /// It stops in good order, and another process comes in its place.
    Release(usize),
    /// It dies, and another process comes in its place.
    Die(usize),
}

struct Request {
    from: usize,
    sent: Duration,
    arrives: u32,
    answered: u32,
    lost: bool,
    /// What is to be replaced, by whom; a read has none.
    write: Option<(Option<String>, String)>,
    answer: Option<Result<Record, ()>>,
}

struct Candidate {
    election: Election,
    offset: Duration,
    percent: u32,
    paused: u32,
    delays: (u32, u32, bool),
    /// When its request was sent, by its clock.
    waits_since: Option<Duration>,
    next: Duration,
}

struct World {
    tick: u32,
    version: u64,
    record: Record,
    candidates: Vec<Candidate>,
    requests: Vec<Request>,
    born: usize,
}

impl World {
    fn new(clocks: &[(u64, u32)]) -> Self {
        let mut world = Self {
            tick: 0,
            version: 1,
            record: absent(),
            candidates: Vec::new(),
            requests: Vec::new(),
            born: 0,
        };
        for (offset, percent) in clocks {
            let candidate = world.candidate(secs(*offset), *percent);
            world.candidates.push(candidate);
        }
        world
    }

    fn candidate(&mut self, offset: Duration, percent: u32) -> Candidate {
        self.born += 1;
        Candidate {
            election: Election::new(format!("process-{}", self.born), TIMING),
            offset,
            percent,
            paused: 0,
            delays: (0, 0, false),
            waits_since: None,
            next: Duration::ZERO,
        }
    }

    fn clock(&self, candidate: &Candidate) -> Duration {
        candidate.offset + TICK * self.tick * candidate.percent / 100
    }

    fn leaders(&self) -> Vec<usize> {
        let candidates = self.candidates.iter().enumerate();
        candidates
            .filter(|(_, one)| one.election.leads(self.clock(one)))
            .map(|(index, _)| index)
            .collect()
    }

    fn suffer(&mut self, fate: &Fate) {
        let count = self.candidates.len();
        match *fate {
            Fate::Nothing => {}
            Fate::Pause(who, ticks) => self.candidates[who % count].paused = ticks,
            Fate::Slow(who, there, back, lost) => {
                self.candidates[who % count].delays = (there, back, lost);
            }
            Fate::Delete => self.record = absent(),
            Fate::Release(who) => {
                let one = &mut self.candidates[who % count].election;
                one.resign();
                let seen = one.seen().filter(|_| one.may_release());
                if seen.is_some_and(|seen| seen.version == self.record.version) {
                    self.put(String::new());
                }
                self.replace(who % count);
            }
            Fate::Die(who) => self.replace(who % count),
        }
    }

    fn replace(&mut self, who: usize) {
        let (offset, percent) = (
            self.candidates[who].offset + secs(12_345),
            self.candidates[who].percent,
        );
        self.candidates[who] = self.candidate(offset, percent);
        // Its requests may still arrive, their answers cannot.
        for request in self.requests.iter_mut().filter(|one| one.from == who) {
            request.lost = true;
        }
    }

    fn put(&mut self, holder: String) {
        self.version += 1;
        self.record = Record {
            holder,
            ..record(self.version, "")
        };
    }

    fn arrive(&mut self) {
        let mut requests = std::mem::take(&mut self.requests);
        for request in &mut requests {
            if request.arrives != self.tick {
                continue;
            }
            request.answer = Some(match &request.write {
                None => Ok(self.record.clone()),
                Some((version, holder)) if *version == self.record.version => {
                    self.put(holder.clone());
                    Ok(self.record.clone())
                }
                Some(_) => Err(()),
            });
        }
        self.requests = requests;
    }

    fn act(&mut self, who: usize) {
        let now = self.clock(&self.candidates[who]);
        if self.candidates[who].paused > 0 {
            self.candidates[who].paused -= 1;
            return;
        }
        let tick = self.tick;
        let answered = |one: &Request| one.from == who && !one.lost && one.answered <= tick;
        if let Some(index) = self.requests.iter().position(answered) {
            let request = self.requests.remove(index);
            // One that was given up is not listened to any more.
            if self.candidates[who].waits_since == Some(request.sent) {
                self.candidates[who].waits_since = None;
                self.answered(who, now, request);
            }
        }
        if let Some(since) = self.candidates[who].waits_since {
            if now < since + PATIENCE {
                return;
            }
            self.candidates[who].waits_since = None;
        }
        let candidate = &mut self.candidates[who];
        if now < candidate.next {
            return;
        }
        candidate.next = now + TIMING.retry;
        let write = match candidate.election.step(now) {
            Step::Wait => {
                candidate.election.look_again();
                None
            }
            Step::Read => None,
            Step::Write => {
                let version = candidate.election.seen().unwrap().version.clone();
                Some((version, candidate.election.me().to_owned()))
            }
        };
        let (there, back, lost) = std::mem::take(&mut candidate.delays);
        candidate.waits_since = Some(now);
        self.requests.push(Request {
            from: who,
            sent: now,
            arrives: self.tick + 1 + there,
            answered: self.tick + 2 + there + back,
            lost,
            write,
            answer: None,
        });
    }

    fn answered(&mut self, who: usize, now: Duration, request: Request) {
        let election = &mut self.candidates[who].election;
        match (request.answer.unwrap(), request.write) {
            (Ok(record), Some(_)) => election.wrote(request.sent, now, record),
            (Ok(record), None) => {
                election.read(now, record);
                self.candidates[who].next = now;
            }
            (Err(()), _) => election.look_again(),
        }
    }

    fn go_on(&mut self) {
        self.tick += 1;
        self.arrive();
        for who in 0..self.candidates.len() {
            self.act(who);
        }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    let who = 0..8_usize;
    prop_oneof![
        40 => Just(Fate::Nothing),
        4 => (who.clone(), 1..120_u32).prop_map(|(who, ticks)| Fate::Pause(who, ticks)),
        4 => (who.clone(), 0..80_u32, 0..80_u32, any::<bool>())
            .prop_map(|(who, there, back, lost)| Fate::Slow(who, there, back, lost)),
        1 => Just(Fate::Delete),
        1 => who.clone().prop_map(Fate::Release),
        1 => who.prop_map(Fate::Die),
    ]
}

proptest! {
    #[test]
    fn two_never_lead_at_one_true_moment_and_in_peace_one_does(
        clocks in prop::collection::vec((0..1_000_000_u64, SLOWEST..=200 - SLOWEST), 1..5),
        fates in prop::collection::vec(fate(), 0..600),
    ) {
        let mut world = World::new(&clocks);
        for fate in &fates {
            world.suffer(fate);
            world.go_on();
            let leaders = world.leaders();
            prop_assert!(leaders.len() <= 1, "tick {}: {leaders:?} lead", world.tick);
        }
        // The longest pause, the slowest message, and a lease.
        for _ in 0..400 {
            world.go_on();
            prop_assert!(world.leaders().len() <= 1);
        }
        prop_assert_eq!(world.leaders().len(), 1);
    }
}
