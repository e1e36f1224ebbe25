//! What makes a pass happen: the schedule, SIGUSR1, the start. All they do is ring a doorbell.
//!
//! Guarantees: rings during a pass make exactly one more pass after it. When the schedule falls silent (a clock set back
//! stops the scheduler until the clock catches up), passes go on after three intervals.

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

/// The doorbell, and those who ring it.
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

/// What the service is woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A pass.
    Pass(Trigger),
    /// SIGHUP: read the configuration again.
    Reload,
}

impl Bell {
    /// What a person asked for is told rather than what the schedule did at the same time.
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

    /// A reload goes before a pass, so that the pass goes by what a person has just written.
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

    /// Goes by another schedule from now on: the new job first, then the old one goes, so that there is always one.
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

    /// Waits for the next reason to do something.
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
                    warn!("the schedule {:?} was silent for {} s, as after a clock was set back; a pass now", self.poll, silence.as_secs());
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

/// From now on SIGUSR1, SIGUSR2 and SIGHUP end nothing, in any command: they are meant for the service, and reach whoever is found by
/// name (`pkill -USR1 makegood`). A handler stays for as long as the process lives. So does that of SIGCHLD, for a makegood that was
/// started with SIGCHLD ignored: it could not wait for its commands.
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
                warn!("a second signal: aborted. What was in flight is settled by the next pass");
                std::process::exit(1);
            }
            info!("a signal says stop: what is in flight ends first");
            stop.cancel();
        }
    });
    Ok(())
}
