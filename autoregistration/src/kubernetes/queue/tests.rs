use super::*;

fn key(name: &str) -> Key {
    ("training".to_owned(), name.to_owned())
}

struct Bench {
    queue: Queue,
    now: Instant,
}

impl Bench {
    fn new(writes_per_second: u32) -> Self {
        let now = Instant::now();
        Self {
            queue: Queue::new(writes_per_second, now),
            now,
        }
    }

    fn put(&mut self, name: &str, lane: Lane) {
        self.queue.put(&key(name), lane, None, self.now);
    }

    fn take(&mut self) -> Option<String> {
        self.queue.take(self.now).map(|(_, name)| name)
    }

    /// Takes and ends calls as long as there is one at once.
    fn all(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(name) = self.take() {
            self.queue.ended();
            all.push(name);
        }
        all
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }
}

#[test]
fn the_most_urgent_comes_first_and_within_a_lane_the_oldest() {
    let mut bench = Bench::new(100);
    for (name, lane) in [
        ("delete", Lane::Delete),
        ("describe", Lane::Metadata),
        ("make", Lane::Create),
        ("b", Lane::Ready),
        ("a", Lane::Ready),
        ("out", Lane::NotReady),
    ] {
        bench.put(name, lane);
    }
    assert_eq!(bench.all(), ["out", "b", "a", "make", "describe", "delete"]);
}

#[test]
fn one_that_waits_keeps_its_place_unless_its_lane_changes() {
    let mut bench = Bench::new(100);
    bench.put("a", Lane::Ready);
    bench.put("b", Lane::Ready);
    bench.put("a", Lane::Ready);
    assert_eq!(bench.all(), ["a", "b"]);
    bench.put("a", Lane::Create);
    bench.put("b", Lane::Ready);
    bench.put("a", Lane::NotReady);
    assert_eq!(bench.queue.len(), 2);
    assert_eq!(bench.all(), ["a", "b"]);
    bench.put("a", Lane::Ready);
    bench.queue.remove(&key("a"));
    assert!(!bench.queue.contains(&key("a")));
    assert_eq!(bench.take(), None);
}

#[test]
fn writes_come_at_the_rate_that_is_set_after_a_burst_of_twice_that() {
    let mut bench = Bench::new(10);
    for number in 0..100 {
        bench.put(&format!("{number:03}"), Lane::Create);
    }
    assert_eq!(bench.all().len(), 20);
    let mut taken = 0;
    for _ in 0..30 {
        bench.pass(100);
        taken += bench.all().len();
    }
    assert_eq!(taken, 30);
    assert_eq!(bench.all(), [""; 0]);
    let wake = bench.queue.wake(bench.now).unwrap();
    assert!(wake > bench.now && wake <= bench.now + Duration::from_millis(101));
    bench.now = wake;
    assert_eq!(bench.all().len(), 1, "it is worth waking then");
}

#[test]
fn a_group_that_rolls_out_leaves_room_for_all_else() {
    let mut bench = Bench::new(1000);
    for number in 0..100 {
        bench.put(&format!("{number:03}"), Lane::Metadata);
    }
    bench.put("gone", Lane::Delete);
    let taken = bench.all();
    assert_eq!(taken.len(), 41);
    assert_eq!(taken.last().unwrap(), "gone");
    let wake = bench.queue.wake(bench.now).unwrap();
    assert!(wake > bench.now);
    bench.pass(1000);
    assert_eq!(bench.all().len(), 20);
}

#[test]
fn so_many_calls_are_under_way_at_a_time() {
    let mut bench = Bench::new(1000);
    for number in 0..40 {
        bench.put(&format!("{number:03}"), Lane::Create);
    }
    let taken: Vec<String> = std::iter::from_fn(|| bench.take()).collect();
    assert_eq!(taken.len(), AT_A_TIME);
    assert_eq!(
        bench.queue.wake(bench.now),
        None,
        "an answer wakes, not time"
    );
    bench.queue.ended();
    assert!(bench.take().is_some());
    assert_eq!(bench.take(), None);
}

#[test]
fn one_that_shall_wait_is_passed_by() {
    let mut bench = Bench::new(100);
    let later = bench.now + Duration::from_secs(5);
    bench
        .queue
        .put(&key("a"), Lane::NotReady, Some(later), bench.now);
    bench.put("b", Lane::Delete);
    assert_eq!(bench.all(), ["b"]);
    assert_eq!(bench.queue.wake(bench.now), Some(later));
    bench.pass(5000);
    assert_eq!(bench.queue.age(bench.now), Duration::from_secs(5));
    assert_eq!(bench.all(), ["a"]);
    assert_eq!(bench.queue.wake(bench.now), None);
    assert_eq!(bench.queue.age(bench.now), Duration::ZERO);
}
