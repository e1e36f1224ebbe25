//! Scenarios: the sandbox over HTTP, a real ledger file, real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario that cannot go on has failed")]

#[path = "../sandbox/mod.rs"]
mod sandbox;

mod audit;
mod changed;
mod costs;
mod crash;
mod harm;
mod ledger_trouble;
mod main_job;
mod people;
mod sandbox_itself;
mod trouble;
mod two_of_us;
mod world;
