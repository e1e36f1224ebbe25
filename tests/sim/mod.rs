//! The simulator: makegood's passes in worlds in which anything may go wrong, judged by an auditor that knows nothing of how
//! makegood decides.
//!
//! - The world (`world.rs`, its course in `story.rs`) comes from one seed: commissions, people, a webhook handler, a merchant,
//!   a configuration. Trouble comes first, then fair weather, then rest; then the auditor judges. Time is virtual
//!   (`timeline.rs`) and chance says whose turn it is (`executor.rs`), so a seed gives the same world to the letter.
//! - Faults (`fault.rs`): each world enables some of them and gives each a rate of its own. A run counts what it met; a fault
//!   that ten thousand worlds never met fails the run.
//! - The process under test (`process.rs`) is the real pass on a real ledger in SQLite, with a FirstPromoter
//!   (`firstpromoter.rs`, `marking.rs`), targets (`merchant.rs`) and a clock of the world's. It dies at any await and at any
//!   commit, its commits fail, its disk is slow, and others hold the write lock of its ledger (`locked.rs`).
//! - The auditor (`auditor.rs`, `sequels.rs`, `promptness.rs`) judges by what truly happened (`evidence.rs`) and by the ledger
//!   as a stranger reads it (`witness.rs`). It has its own model of what is owed (`owed.rs`).
//! - Sabotages (`sabotage.rs`, `sabotaged.rs`) break one step of makegood on purpose. They prove that the auditor works: a
//!   test demands that the auditor notices each, by the rule that it breaks.
//! - Seeds in which the auditor once found something run in each `cargo test`. Faults that were added later draw from a
//!   stream of chance of their own: a world in which none of them is enabled stays the world it was.
//!
//! Not simulated: HTTP, processes and files. `tests/it` has them.
//!
//! There are several imitations of FirstPromoter: this one, that of `tests/sandbox` (over HTTP), the script in
//! `src/firstpromoter/script.rs`, and the one in the unit tests of `src/reconcile`. They share no code on purpose. A mistake
//! in the understanding of FirstPromoter that makegood shares with one imitation is not in the next one, so their independence
//! finds bugs that a shared imitation would hide.

#![allow(dead_code, reason = "the tests and the example each use their part of it")]
#![allow(unreachable_pub, missing_docs, reason = "no API: a module of tests, whose names say what they are")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a simulator that cannot go on should stop the test")]
#![allow(clippy::struct_excessive_bools, clippy::struct_field_names, reason = "a model of theirs, in their words")]
#![allow(clippy::unnecessary_wraps, reason = "an answer may also not come; here it does")]

pub mod auditor;
pub mod fault;
pub mod sabotage;
pub mod story;

mod changes;
mod clock;
mod commission;
mod evidence;
mod executor;
mod firstpromoter;
mod handler;
mod locked;
mod marking;
mod merchant;
mod owed;
mod people;
mod process;
mod promptness;
mod restored;
mod reversing;
mod rng;
mod sabotaged;
mod sequels;
mod terms;
mod timeline;
mod witness;
mod world;
