//! The slots by themselves: each has one owner at a time, and each value is dropped once.
#![cfg(loom)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::thread;
use sessionwheel::internals::Slab;
use sessionwheel::pin;
use sessionwheel_loom_tests::{check, long};

/// A value that is counted when it is dropped, not by loom: it belongs to what is asserted.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

struct Model {
    slab: Slab<Counted>,
    entered: AtomicUsize,
    dropped: Arc<AtomicUsize>,
}

impl Model {
    /// Slots `1..=used`, each with a value.
    fn new(used: u32) -> Arc<Self> {
        let model = Self {
            slab: Slab::new(used),
            entered: AtomicUsize::new(0),
            dropped: Arc::default(),
        };
        for _ in 0..used {
            model.enter();
        }
        Arc::new(model)
    }

    fn enter(&self) -> Option<u32> {
        self.entered.fetch_add(1, Relaxed);
        self.slab.enter(Counted(Arc::clone(&self.dropped)))
    }

    /// Retires as one chain, which ripens as soon as nobody is pinned.
    fn leave(&self, numbers: &[u32]) {
        self.slab.leave(numbers, &pin());
    }

    /// Together with what others got, inserts to come get every slot once, and every other value has
    /// been dropped once. (Somebody gets none while another has it off the limbo, and not on the free
    /// list yet.)
    fn fill(&self, got: &[Option<u32>], slots: u32) {
        let mut all: Vec<u32> = got.iter().copied().flatten().collect();
        all.extend((all.len()..slots as usize).filter_map(|_| self.enter()));
        all.sort_unstable();
        assert!(all.iter().copied().eq(1..=slots), "{got:?}, then {all:?}");
        assert_eq!(self.slab.garbage(), 0);
        let alive = self.entered.load(Relaxed) - self.dropped.load(Relaxed);
        assert_eq!(alive, slots as usize, "one in each slot");
    }
}

/// `other` beside `here`; what they return.
fn beside<T: Send + 'static, U>(
    model: &Arc<Model>,
    other: impl FnOnce(&Model) -> T + Send + 'static,
    here: impl FnOnce(&Model) -> U,
) -> (T, U) {
    let theirs = Arc::clone(model);
    let other = thread::spawn(move || other(&theirs));
    let here = here(model);
    (other.join().expect("no panics"), here)
}

/// At stake: two who need a slot beside a third whose chain ripens get three different ones, and
/// three values are dropped.
#[test]
fn enter_against_enter_and_ripening() {
    check("enter_against_enter_and_ripening", 2, || {
        let model = Model::new(3);
        model.leave(&[1, 2]);
        let third = Arc::clone(&model);
        let third = thread::spawn(move || third.leave(&[3]));
        let (one, two) = beside(&model, Model::enter, Model::enter);
        third.join().unwrap();
        model.fill(&[one, two], 3);
    });
}

/// At stake: a slot that was taken, let go and has come back is the first again, but who comes next
/// is another. Who had read that before must read again.
#[test]
fn enter_against_coming_back() {
    check("enter_against_coming_back", long(2, 3), || {
        let model = Model::new(2);
        model.leave(&[1, 2]);
        let back = |model: &Model| {
            let first = model.enter();
            let second = model.enter();
            first.inspect(|&first| model.leave(&[first]));
            // From the other half, so that the first is filled again.
            let again = model.enter();
            again.inspect(|&again| model.leave(&[again]));
            second
        };
        let (kept, other) = beside(&model, back, Model::enter);
        model.fill(&[kept, other], 2);
    });
}

/// At stake: a flush that recycles everything beside an insert that takes one.
#[test]
fn enter_against_recycle() {
    check("enter_against_recycle", 3, || {
        let model = Model::new(3);
        model.leave(&[1, 2]);
        model.leave(&[3]);
        let (one, recycled) = beside(&model, Model::enter, |model| model.slab.recycle());
        assert!(recycled >= 1, "an insert takes two at the most");
        model.fill(&[one], 3);
    });
}

/// At stake: who takes several off a limbo follows numbers that may be stale by then, and one of them is a slot's of a
/// segment that came since, which this thread need not see yet.
#[test]
fn recycle_against_reuse_in_a_new_segment() {
    check("recycle_against_reuse_in_a_new_segment", 3, || {
        // The fourth slot is the first of the second segment.
        let slab = Arc::new(Slab::new(4));
        for value in 0..3u64 {
            slab.enter(value).expect("there is room");
        }
        slab.leave(&[1, 2], &pin());
        let other = {
            let slab = Arc::clone(&slab);
            thread::spawn(move || slab.recycle())
        };
        let mine = [(); 3].map(|()| slab.enter(7));
        if mine == [Some(1), Some(2), Some(4)] {
            slab.leave(&[1, 4], &pin());
        }
        other.join().unwrap();
        slab.recycle();
        assert_eq!(slab.garbage(), 0);
    });
}

/// At stake: a chain ripens on another thread while a map that is being dropped drops all values.
/// Each is dropped once, though the slab is cleared again when the closure lets go of it.
#[test]
fn clear_against_ripening() {
    check("clear_against_ripening", 3, || {
        let model = Model::new(4);
        let guard = pin();
        for chain in [[1, 2], [3, 4]] {
            model.slab.leave(&chain, &guard);
        }
        // Another map's: whoever retires there runs what is pending here.
        let elsewhere = [Model::new(1), Model::new(1)];
        let others = elsewhere.map(|other| thread::spawn(move || other.leave(&[1])));
        drop(guard);
        let dropped = Arc::clone(&model.dropped);
        // SAFETY: the others have at most the closures.
        unsafe { model.slab.clear() };
        for other in others {
            other.join().unwrap();
        }
        drop(model);
        assert_eq!(dropped.load(Relaxed), 4);
    });
}

/// Plain memory that a destructor writes: loom fails the model if it is read in no order to that.
#[derive(Default)]
struct Trace(UnsafeCell<u64>);

// SAFETY: loom fails the model if accesses are not ordered.
unsafe impl Sync for Trace {}
// SAFETY: as above.
unsafe impl Send for Trace {}

struct Traced(Arc<Trace>);

impl Drop for Traced {
    fn drop(&mut self) {
        // SAFETY: each is dropped once.
        self.0.0.with_mut(|count| unsafe { *count += 1 });
    }
}

/// At stake: a flush returns when others have recycled what it retired. What the destructors did must be
/// there for its caller.
#[test]
fn recycled_by_others() {
    check("recycled_by_others", 2, || {
        let slab = Arc::new(Slab::new(2));
        let traces: [Arc<Trace>; 2] = Default::default();
        let numbers = traces.each_ref().map(|trace| {
            let number = slab.enter(Traced(Arc::clone(trace)));
            number.expect("there is room")
        });
        for number in numbers {
            slab.leave(&[number], &pin());
        }
        let others = [(); 2].map(|()| {
            let slab = Arc::clone(&slab);
            thread::spawn(move || slab.recycle())
        });
        let seen = |done: bool| {
            for trace in traces.iter().filter(|_| done) {
                // SAFETY: both have been recycled.
                assert_eq!(trace.0.with(|count| unsafe { *count }), 1);
            }
        };
        seen(slab.left_to(2) == 0);
        seen(slab.garbage() == 0);
        let recycled: u64 = others.map(|other| other.join().unwrap()).into_iter().sum();
        assert_eq!(recycled, 2);
        seen(true);
    });
}
