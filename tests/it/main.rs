//! Scenarios: the sandbox over HTTP, a real ledger file, real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a scenario that cannot go on has failed")]
#![allow(clippy::print_stderr, reason = "what could not be tested here is said by name")]

#[path = "../sandbox/mod.rs"]
mod sandbox;

mod api_failures;
mod audit;
mod changed;
mod clock_set_back;
mod command_target;
mod config;
mod costs;
mod crash;
mod cut_off;
mod files;
mod forgotten;
mod harm;
mod hostile;
mod kills;
mod ledger;
mod ledger_trouble;
mod main_job;
mod marking;
mod memory;
mod notice;
mod operator;
mod operator_check;
mod operator_output;
mod operator_reverse;
mod operator_tools;
mod people;
mod plan;
mod planted;
mod policy;
mod readers;
mod reading;
mod restore;
mod sandbox_itself;
mod secrets;
mod service;
mod systemd;
mod targets;
mod traps;
mod trouble;
mod two_of_us;
mod vanished;
mod world;
