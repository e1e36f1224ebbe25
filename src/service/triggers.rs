//! The triggers of a pass: the schedule, SIGUSR1, the start. They only ring a doorbell.
//!
//! Guarantees: triggers during a pass cause exactly one more pass after it. Where the schedule goes silent (after a clock was
//! set back, the scheduler waits until it catches up), passes go on after three intervals.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::{clock::Clock, config::next_times, reconcile::Trigger};

/// The doorbell, and everything that rings it.
pub struct Triggers {
    bell: Arc<Bell>,
    poll: String,
    job: Uuid,
    scheduler: JobScheduler,
}

#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<Rung>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Rung {
    pass: Option<Trigger>,
    reload: bool,
}

/// Why the service wakes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A pass.
    Pass(Trigger),
    /// SIGHUP: read the configuration again.
    Reload,
}

impl Bell {
    /// A trigger from a person wins over one from the schedule at the same time.
    fn ring(&self, trigger: Trigger) {
        self.change(|rung| {
            if rung.pass != Some(Trigger::Signal) {
                rung.pass = Some(trigger);
            }
        });
    }

    fn reload(&self) {
        self.change(|rung| rung.reload = true);
    }

    fn change(&self, change: impl FnOnce(&mut Rung)) {
        change(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        self.notify.notify_one();
    }

    /// A reload goes before a pass, so that the pass uses the new configuration.
    fn take(&self) -> Option<Wake> {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut rung.reload) {
            return Some(Wake::Reload);
        }
        rung.pass.take().map(Wake::Pass)
    }
}

impl Triggers {
    /// Starts the schedule (cron with seconds, UTC) and listens for SIGUSR1 and SIGHUP.
    pub async fn start(poll: &str) -> anyhow::Result<Self> {
        let bell = Arc::new(Bell::default());
        let mut usr1 = signal(SignalKind::user_defined1()).context("SIGUSR1 cannot be listened for")?;
        let mut hup = signal(SignalKind::hangup()).context("SIGHUP cannot be listened for")?;
        let listener = Arc::clone(&bell);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = usr1.recv() => {
                        info!("SIGUSR1: a pass");
                        listener.ring(Trigger::Signal);
                    }
                    Some(()) = hup.recv() => listener.reload(),
                    else => break,
                }
            }
        });
        let scheduler = JobScheduler::new().await?;
        let job = scheduler.add(Self::job(poll, &bell)?).await?;
        scheduler.start().await?;
        Ok(Self { bell, poll: poll.to_owned(), job, scheduler })
    }

    fn job(poll: &str, bell: &Arc<Bell>) -> anyhow::Result<Job> {
        let bell = Arc::clone(bell);
        let ring = move |_, _| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let bell = Arc::clone(&bell);
            Box::pin(async move { bell.ring(Trigger::Schedule) })
        };
        Ok(Job::new_async(poll, ring)?)
    }

    /// Changes the schedule. Adds the new job before it removes the old one, so that there is always one.
    pub async fn reschedule(&mut self, poll: &str) -> anyhow::Result<()> {
        if poll == self.poll {
            return Ok(());
        }
        let old = std::mem::replace(&mut self.job, self.scheduler.add(Self::job(poll, &self.bell)?).await?);
        poll.clone_into(&mut self.poll);
        self.scheduler.remove(&old).await?;
        Ok(())
    }

    /// Asks for a pass.
    pub fn ring(&self, trigger: Trigger) {
        self.bell.ring(trigger);
    }

    /// Waits for the next thing to do.
    pub async fn next(&self, clock: &impl Clock) -> Wake {
        let silence = self.longest_silence(clock);
        loop {
            if let Some(wake) = self.bell.take() {
                return wake;
            }
            tokio::select! {
                () = self.bell.notify.notified() => {}
                // tokio's time is monotonic: a clock that jumps does not move it.
                () = tokio::time::sleep(silence) => {
                    warn!("the schedule {:?} was silent for {} s, perhaps because the clock was set back: a pass begins now", self.poll, silence.as_secs());
                    return Wake::Pass(Trigger::Schedule);
                }
            }
        }
    }

    /// Three intervals of the schedule, counted from now; at least a minute.
    fn longest_silence(&self, clock: &impl Clock) -> Duration {
        const RARELY: Duration = Duration::from_hours(24 * 366);
        let times = next_times(&self.poll, clock.now(), 4);
        let span = times.last().map(|last| *last - clock.now()).and_then(|span| span.to_std().ok());
        span.unwrap_or(RARELY).clamp(Duration::from_mins(1), RARELY)
    }
}

impl std::fmt::Debug for Triggers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Triggers").field("poll", &self.poll).finish_non_exhaustive()
    }
}

/// From now on SIGUSR1, SIGUSR2 and SIGHUP end no command. They are meant for the service, and reach every process that is
/// found by name (`pkill -USR1 makegood`). A handler stays for the life of the process. So does the one for SIGCHLD: a makegood
/// that was started with SIGCHLD ignored could not wait for its commands.
pub fn outlive_wake_ups() -> std::io::Result<()> {
    for kind in [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::hangup(), SignalKind::child()] {
        drop(signal(kind)?);
    }
    Ok(())
}

/// SIGTERM and SIGINT cancel `stop`; a second one ends the process at once, with exit code 1.
pub fn stop_on_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut int = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if stop.is_cancelled() {
                warn!("a second signal: aborted. The next pass settles what was in flight");
                std::process::exit(1);
            }
            info!("a signal says stop: what is in flight ends first");
            stop.cancel();
        }
    });
    Ok(())
}
