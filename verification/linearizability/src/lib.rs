//! Is the map linearizable? Real threads fall upon a few keys, and write down what they called, what came
//! back, and when; a checker then looks for an order of all operations on a key that a map without
//! threads could have shown (Herlihy and Wing 1990; the search is that of Wing and Gong 1993 with
//! Lowe's cache, from `todc-utils`).
//!
//! - [`spec`]: what a map without threads does under one key.
//! - [`history`]: calls and returns on one time line.
//! - [`crowd`]: threads that make histories, round after round.
//!
//! All threads go by one clock, which each reads inside its call. It is part of the specification: an
//! operation whose reading is older than the clock may find that a flush has come by in between.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod crowd;
pub mod history;
pub mod spec;
