//! Is the map linearizable? Real threads fall upon a few keys, and write down what they called, what came
//! back, and when; a checker then looks for an order of all operations on a key that a map without
//! threads could have shown (Herlihy and Wing 1990; the search is that of Wing and Gong 1993 with
//! Lowe's cache, from `todc-utils`).
//!
//! - [`spec`]: what a map without threads does under one key.
//! - [`history`]: calls and returns on one time line.
//! - [`crowd`]: threads that make histories, round after round.
//!
//! All threads go by one clock, which each reads inside its call. So one that has read it early may find
//! that a flush which has read it late has come by; the specification knows up to where flushes were.
//!
//! Keys let other threads go first when they are hashed or compared, and so does the listener: threads
//! meet inside operations however few processors there are.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod crowd;
pub mod history;
pub mod spec;
