//! `cargo run --release --example sim -- --worlds N [--seed S]`: any number of worlds on all cores.
//!
//! Seeds are S, S + 1, ... Prints worlds per second and the mix of faults met; on failure the seed whose trace is the
//! shortest, with its trace. `--worlds 1 --seed S` shows one world. `--sabotage NAME` breaks a step on purpose.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is there to be read")]

use std::{
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::Parser;

#[path = "mod.rs"]
mod sim;

use sim::{
    fault::Mix,
    sabotage::Sabotage,
    story::{Scratch, Verdict},
};

/// In a run of this many worlds or more, every fault must occur. One that does not is a mistake in the simulator.
const MEETS_EVERYTHING: u64 = 10_000;
/// The time between two lines of progress.
const NEWS: Duration = Duration::from_secs(10);
/// A thread stops after this many broken worlds.
const ENOUGH: usize = 50;

#[derive(Parser)]
#[command(about = "Runs makegood's passes in simulated worlds and audits each")]
struct Args {
    /// How many worlds
    #[arg(long, default_value_t = 20_000)]
    worlds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Break this step on purpose
    #[arg(long, default_value = "None", value_parser = sabotage)]
    sabotage: Sabotage,
    /// Threads
    #[arg(long)]
    jobs: Option<usize>,
}

fn sabotage(name: &str) -> Result<Sabotage, String> {
    Sabotage::named(name).ok_or_else(|| format!("one of {:?}", Sabotage::ALL))
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.worlds == 1 {
        let verdict = Scratch::new().run(args.seed, args.sabotage, true);
        print!("{}", verdict.trace);
        // In a broken world at least one rule did not hold.
        return tell(if verdict.violations.is_empty() { &[] } else { std::slice::from_ref(&verdict) });
    }
    let began = Instant::now();
    let (worlds, mix, broken) = run(&args);
    let seconds = began.elapsed().as_secs_f64();
    for (fault, times) in mix.iter() {
        println!("{times:>10}  {}", fault.words());
    }
    #[allow(clippy::cast_precision_loss, reason = "for a person")]
    let rate = worlds as f64 / seconds;
    println!("{worlds} worlds in {seconds:.1} s: {rate:.0} worlds per second");
    let never_met = mix.never_met();
    if worlds >= MEETS_EVERYTHING && args.sabotage == Sabotage::None && !never_met.is_empty() {
        eprintln!("never met, so that nothing is shown about: {never_met:?}");
        tell(&broken);
        return ExitCode::FAILURE;
    }
    let scratch = Scratch::new();
    let again = broken.iter().take(ENOUGH).map(|it| scratch.run(it.seed, args.sabotage, true));
    let shortest = again.min_by_key(|it| it.trace.len());
    let code = tell(&broken);
    if let Some(it) = shortest {
        eprintln!("\nThe shortest of these, seed {}:\n{}", it.seed, it.trace);
        tell(&[it]);
    }
    code
}

/// All of them, one at a time on each core.
fn run(args: &Args) -> (u64, Mix, Vec<Verdict>) {
    let next = AtomicU64::new(0);
    let found = Mutex::new((0, Mix::default(), Vec::new()));
    let said = Mutex::new(Instant::now());
    thread::scope(|scope| {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..args.jobs.unwrap_or_else(cores) {
            scope.spawn(|| {
                let scratch = Scratch::new();
                let mut mix = Mix::default();
                let mut broken = Vec::new();
                let mut worlds = 0;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= args.worlds || broken.len() >= ENOUGH {
                        break;
                    }
                    let verdict = scratch.run(args.seed.wrapping_add(number), args.sabotage, false);
                    worlds += 1;
                    mix.add(&verdict.mix);
                    if !verdict.violations.is_empty() {
                        // Printed at once, so that a long run cannot lose its findings.
                        eprintln!("seed {} is broken: {:?}", verdict.seed, verdict.violations[0].rule);
                        broken.push(verdict);
                    }
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    if said.elapsed() >= NEWS {
                        *said = Instant::now();
                        eprintln!("{} of {} worlds", number + 1, args.worlds);
                    }
                }
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.0 += worlds;
                found.1.add(&mix);
                found.2.extend(broken);
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The rules that did not hold, and their worlds.
fn tell(broken: &[Verdict]) -> ExitCode {
    if broken.is_empty() {
        println!("every rule held in every world");
        return ExitCode::SUCCESS;
    }
    let mut counts = std::collections::BTreeMap::<_, Vec<u64>>::new();
    for verdict in broken {
        for violation in &verdict.violations {
            counts.entry(violation.rule).or_default().push(verdict.seed);
        }
    }
    for (rule, mut seeds) in counts {
        seeds.dedup();
        eprintln!("{rule:?} was broken in {} worlds: seeds {:?}", seeds.len(), &seeds[..seeds.len().min(8)]);
    }
    if let [only] = broken {
        for violation in &only.violations {
            eprintln!("{:?}: {}", violation.rule, violation.words);
        }
    }
    ExitCode::FAILURE
}
