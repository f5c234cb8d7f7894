//! Lookups that nobody waits for: asked on the worker's connection, and answered when somebody comes back.
//!
//! # Ground rules
//!
//! - Every question is answered, be it by nothing: when Redis has said something, when its connection
//!   fails or there is none, when it was pushed out by later ones, when the tier ends.
//! - It is forgotten [`KEPT`] after it was asked, or when Redis has removed that session. Until then the session is marked,
//!   so no answer brings it back.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::flights::Answer;
use crate::weight::Part;

/// Long enough to tell who comes back that there was no answer in time.
pub(crate) const KEPT: Duration = Duration::from_secs(2);
/// So long is an answer waited for at most.
pub(crate) const LONGEST_PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Question {
    /// The session's key in Redis.
    pub(crate) name: Box<[u8]>,
    pub(crate) asked: Instant,
    slot: Mutex<Slot>,
    answered: Condvar,
}

#[derive(Default)]
struct Slot {
    answer: Option<Answer>,
    /// Of the answer. Dropped with it.
    counted: Option<Part>,
    wakers: Vec<Waker>,
}

impl Question {
    pub(crate) fn new(name: Box<[u8]>) -> Self {
        Self {
            name,
            asked: Instant::now(),
            slot: Mutex::default(),
            answered: Condvar::new(),
        }
    }

    /// The first answer counts.
    pub(crate) fn answer(&self, answer: Answer) {
        self.fill(answer, None);
    }

    /// The same, for a session whose bytes are counted.
    pub(crate) fn answer_with(&self, sealed: Arc<[u8]>, counted: Part) {
        self.fill(Some(sealed), Some(counted));
    }

    fn fill(&self, answer: Answer, counted: Option<Part>) {
        let mut slot = self.lock();
        if slot.answer.is_none() {
            (slot.answer, slot.counted) = (Some(answer), counted);
        }
        let wakers = std::mem::take(&mut slot.wakers);
        drop(slot);
        self.answered.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn answered(&self) -> Option<Answer> {
        self.lock().answer.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question on its way to Redis. From [`RedisTier::prefetch`](crate::RedisTier::prefetch).
///
/// A future that is ready when the lookup of that session needs to wait no more, and a handle to
/// [wait](Self::wait) with. It is ready after the write timeout at the latest, so in async code put a
/// timeout around it.
#[must_use = "the lookup waits if this doesn't"]
pub struct Prefetch(pub(crate) Option<Arc<Question>>);

impl Prefetch {
    /// Waits for the answer, for `timeout` at most. Whether there is one, or nothing to be waited for.
    pub fn wait(&self, timeout: Duration) -> bool {
        let Some(question) = &self.0 else {
            return true;
        };
        let slot = question.lock();
        let woken = question
            .answered
            .wait_timeout_while(slot, timeout, |slot| slot.answer.is_none());
        let (slot, _) = woken.unwrap_or_else(PoisonError::into_inner);
        slot.answer.is_some()
    }
}

impl Future for Prefetch {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(question) = &self.0 else {
            return Poll::Ready(());
        };
        let mut slot = question.lock();
        if slot.answer.is_some() {
            return Poll::Ready(());
        }
        if !slot
            .wakers
            .iter()
            .any(|waker| waker.will_wake(context.waker()))
        {
            slot.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl std::fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let question = self.0.as_ref();
        let ready = question.is_none_or(|question| question.answered().is_some());
        f.debug_struct("Prefetch").field("ready", &ready).finish()
    }
}
