//! The removal listener runs last, under no lock, and may call into the map.
//!
//! Ground rules:
//! - Events are delivered when the links, the hints and the permits of their operation are in
//!   order, on the thread that removed, still pinned: the entries can be read.
//! - A removal made from inside the listener of the same map is queued on this thread and
//!   delivered by the outermost call, so the listener is never entered twice on one stack.
//! - A panic is caught and counted; the events behind it are delivered all the same.

use std::cell::RefCell;

use super::core::Core;
use super::types::Reason;
use crate::contain::contain;
use crate::reclaim::Guard;
use crate::slab::SlotNumber;
use crate::sync::thread_local;

/// An entry that has left.
#[derive(Clone, Copy)]
pub(super) struct Event {
    pub(super) shard: u32,
    pub(super) slot: SlotNumber,
    pub(super) reason: Reason,
}

/// A map whose listener is running on this thread, and what was removed from inside it.
struct Frame {
    map: usize,
    queue: Vec<Event>,
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// `None` on a thread that is being torn down and has lost its frames: nothing is queued there.
fn with_frames<R>(f: impl FnOnce(&mut Vec<Frame>) -> R) -> Option<R> {
    FRAMES.try_with(|frames| f(&mut frames.borrow_mut())).ok()
}

fn is_listening(map: usize) -> bool {
    with_frames(|frames| frames.iter().any(|frame| frame.map == map)).unwrap_or(false)
}

/// The listener of a map is running on this thread until this is dropped.
struct Delivery {
    map: usize,
}

impl Delivery {
    /// `None` if it is running already; the events are queued then.
    fn begin(map: usize, events: &[Event]) -> Option<Self> {
        let begun = with_frames(|frames| {
            if let Some(frame) = frames.iter_mut().find(|frame| frame.map == map) {
                frame.queue.extend_from_slice(events);
                return None;
            }
            frames.push(Frame {
                map,
                queue: Vec::new(),
            });
            Some(Self { map })
        });
        begun.unwrap_or_else(|| Some(Self { map }))
    }

    fn queued(&self) -> Vec<Event> {
        with_frames(|frames| {
            let frame = frames.iter_mut().find(|frame| frame.map == self.map);
            frame.map_or_else(Vec::new, |frame| std::mem::take(&mut frame.queue))
        })
        .unwrap_or_default()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        with_frames(|frames| frames.retain(|frame| frame.map != self.map));
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether this thread is inside this map's listener.
    pub(super) fn in_listener(&self) -> bool {
        self.listener.is_some() && is_listening(self.address())
    }

    /// Says of the thread that asks whether it is outside this map's listener: only then may it
    /// remove for another, since inside events are queued until the outermost call of that thread.
    pub(super) fn outside_listener(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let map = self.address();
        move || !is_listening(map)
    }

    pub(super) fn has_listener(&self) -> bool {
        self.listener.is_some()
    }

    /// Remembers an event if anyone listens.
    pub(super) fn note(
        &self,
        events: &mut Vec<Event>,
        shard: usize,
        slot: SlotNumber,
        reason: Reason,
    ) {
        if self.has_listener() {
            let shard = shard as u32;
            events.push(Event {
                shard,
                slot,
                reason,
            });
        }
    }

    /// Tells the listener. The caller removed these entries under `guard` or an outer one.
    #[inline]
    pub(super) fn deliver(&self, events: &[Event], guard: &Guard) {
        if !events.is_empty() {
            self.deliver_all(events, guard);
        }
    }

    #[inline(never)]
    fn deliver_all(&self, events: &[Event], guard: &Guard) {
        let Some(delivery) = Delivery::begin(self.address(), events) else {
            return;
        };
        for &event in events {
            self.tell(event, guard);
        }
        loop {
            let queued = delivery.queued();
            if queued.is_empty() {
                return;
            }
            for event in queued {
                self.tell(event, guard);
            }
        }
    }

    fn tell(&self, event: Event, _pinned: &Guard) {
        let Some(listener) = &self.listener else {
            return;
        };
        let shard = &self.shards[event.shard as usize];
        let slot = shard.slab.slot(event.slot);
        // SAFETY: this thread removed the entry and has been pinned since: nested removals are
        // delivered by the outermost call, whose guard spans them.
        let told =
            unsafe { slot.with_body(|key, value| contain(|| listener(key, value, event.reason))) };
        if told.is_none() {
            shard.counters.listener_panic();
        }
    }
}
