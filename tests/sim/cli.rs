//! `cargo run --release --example sim -- --worlds N [--seed S]`: any number of worlds on all cores.
//!
//! Seeds are S, S + 1, ... Prints worlds per second and the mix of faults met; on failure the seed whose trace is the
//! shortest, with its trace. `--worlds 1 --seed S` shows one world. `--sabotage NAME` breaks a step on purpose.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is there to be read")]

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;

#[path = "mod.rs"]
mod sim;

use sim::{
    fault::Mix,
    sabotage::Sabotage,
    story::{Scratch, Verdict},
};

/// From so many worlds on, a fault that none of them met is a fault of the simulator's.
const MEETS_EVERYTHING: u64 = 2000;
/// After so many broken worlds there is enough to look at.
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
}

fn sabotage(name: &str) -> Result<Sabotage, String> {
    Sabotage::named(name).ok_or_else(|| format!("one of {:?}", Sabotage::ALL))
}

fn main() -> ExitCode {
    let args = Args::parse();
    // A panic is a finding, told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if args.worlds == 1 {
        let verdict = Scratch::new().run(args.seed, args.sabotage, true);
        print!("{}", verdict.trace);
        return tell(&[verdict]);
    }
    let began = Instant::now();
    let (mix, broken) = run(&args);
    let seconds = began.elapsed().as_secs_f64();
    for (fault, times) in mix.iter() {
        println!("{times:>10}  {}", fault.words());
    }
    #[allow(clippy::cast_precision_loss, reason = "for a person")]
    let rate = args.worlds as f64 / seconds;
    println!("{} worlds in {seconds:.1} s: {rate:.0} worlds per second", args.worlds);
    let never_met = mix.never_met();
    if args.worlds >= MEETS_EVERYTHING && args.sabotage == Sabotage::None && !never_met.is_empty() {
        eprintln!("never met: {never_met:?}");
        return ExitCode::FAILURE;
    }
    tell(&broken)
}

/// All of them, one at a time on each core.
fn run(args: &Args) -> (Mix, Vec<Verdict>) {
    let next = AtomicU64::new(0);
    let found = Mutex::new((Mix::default(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let scratch = Scratch::new();
                let mut mix = Mix::default();
                let mut broken = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= args.worlds || broken.len() >= ENOUGH {
                        break;
                    }
                    let verdict = scratch.run(args.seed.wrapping_add(number), args.sabotage, false);
                    mix.add(&verdict.mix);
                    if !verdict.violations.is_empty() {
                        broken.push(verdict);
                    }
                }
                let mut found = found.lock().unwrap();
                found.0.add(&mix);
                found.1.extend(broken);
            });
        }
    });
    found.into_inner().unwrap()
}

/// The shortest story tells most.
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
        eprintln!("{rule:?} was broken in {} worlds: seeds {:?} ...", seeds.len(), &seeds[..seeds.len().min(8)]);
    }
    let scratch = Scratch::new();
    let told = broken.iter().take(ENOUGH).map(|it| scratch.run(it.seed, Sabotage::None, true));
    let shortest = told.min_by_key(|it| it.trace.len());
    if let Some(it) = shortest.filter(|_| broken.len() > 1) {
        eprintln!("{}\nseed {}:", it.trace, it.seed);
    }
    if let [only] = broken {
        for violation in &only.violations {
            eprintln!("{:?}: {}", violation.rule, violation.words);
        }
    }
    ExitCode::FAILURE
}
