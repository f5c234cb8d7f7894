#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod forward;
mod listener;
pub mod upstream;

pub use forward::Forward;
pub use listener::{Began, listener};
