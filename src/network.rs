//! The network has a thread of its own.
//!
//! The main thread decides, and writes the ledger. A commit blocks it until the disk has synced, or until somebody else lets go
//! of the lock. Timeouts must not depend on that. Suppose 64 requests leave while the ledger syncs 64 intents one after the
//! other, at 100 ms each. On one thread, every request runs out of its timeout before anybody reads the answer, although the
//! endpoint answered at once. So everything with a timeout (a delivery, a request to FirstPromoter, a notice) runs here
//! together with its timer, and the main thread waits for the result.
//!
//! Guarantees: [`run`] starts the work at once, whatever the main thread does. Dropping the future of [`run`] ends the work.
//!
//! Assumptions: nothing here blocks, and nothing here touches the ledger.

use std::{future::pending, panic::resume_unwind, sync::OnceLock, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, warn};

/// The first caller makes it. `None` where no thread can be started: then all work shares the caller's thread.
static NETWORK: OnceLock<Option<Handle>> = OnceLock::new();

/// Runs this on the network's thread and returns its result. A panic there becomes a panic here.
pub(crate) async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let work = work.in_current_span();
    let running = match NETWORK.get_or_init(start) {
        Some(network) => network.spawn(work),
        None => tokio::spawn(work),
    };
    match AbortOnDropHandle::new(running).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Cancelled. This happens only when the process ends and nobody waits any more.
            Err(_) => pending().await,
        },
    }
}

fn start() -> Option<Handle> {
    let made = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        let handle = runtime.handle().clone();
        thread::Builder::new().name("network".to_owned()).spawn(move || runtime.block_on(pending::<()>()))?;
        Ok(handle)
    });
    made.inspect_err(|error| {
        warn!("the network's thread cannot be started ({error}): requests may time out while the disk is slow. Allow more threads (TasksMax=)");
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn work_goes_on_while_the_callers_thread_is_blocked() {
        let (tell, told) = mpsc::channel();
        let work = run(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tell.send(()).unwrap();
        });
        let blocked = async { told.recv_timeout(Duration::from_mins(1)).expect("it does not wait for this thread") };
        tokio::join!(work, blocked);
    }

    #[tokio::test]
    async fn dropping_the_future_ends_the_work() {
        let (tell, told) = mpsc::channel::<()>();
        let work = run(async move {
            pending::<()>().await;
            drop(tell);
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
        let ended = told.recv_timeout(Duration::from_mins(1));
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected), "its future was dropped");
    }
}
