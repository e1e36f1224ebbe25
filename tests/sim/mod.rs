//! The simulator.
#![allow(dead_code, reason = "the tests and the example each use their part of it")]
#![allow(unreachable_pub, missing_docs, reason = "no API: a module of tests, whose names say what they are")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a simulator that cannot go on should stop the test")]
#![allow(clippy::struct_excessive_bools, clippy::struct_field_names, reason = "a model of theirs, in their words")]
#![allow(clippy::unnecessary_wraps, reason = "an answer may also not come; here it does")]

pub mod auditor;
pub mod fault;
pub mod sabotage;
pub mod story;

mod commission;
mod evidence;
mod executor;
mod firstpromoter;
mod handler;
mod marking;
mod merchant;
mod owed;
mod people;
mod process;
mod rng;
mod terms;
mod timeline;
mod witness;
mod world;
