//! The network has a thread of its own.
//!
//! The main thread decides, and writes the ledger; a commit blocks it for as long as the disk, or somebody's lock, takes. A timeout
//! must not: suppose 64 requests are to leave while the ledger syncs 64 intents, one after the other, at 100 ms each. On one thread
//! none of them gets an answer before its timeout is over, though the endpoint answered at once. So what is bounded by a timeout (a
//! delivery, a request to FirstPromoter, a notice) runs here, timer and all, and the main thread waits for what comes of it.
//!
//! Guarantees: [`run`] begins at once, whatever the main thread does; dropped, it ends what it ran.
//!
//! Assumptions: nothing here blocks, and nothing here touches the ledger.

use std::{future::pending, panic::resume_unwind, sync::OnceLock, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, warn};

/// Made by the first who needs it. None where there can be no such thread: then everything shares the caller's.
static NETWORK: OnceLock<Option<Handle>> = OnceLock::new();

/// Runs this on the network's thread; returns what it came to. A panic there is one here.
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
            // Cancelled: only where the process ends, and nobody waits any more.
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
        warn!("the network gets no thread of its own ({error}): a slow disk may cost answers. Allow more threads (TasksMax=)");
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn it_goes_on_while_the_callers_thread_is_blocked() {
        let (tell, told) = mpsc::channel();
        let work = run(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            tell.send(()).unwrap();
        });
        let blocked = async { told.recv_timeout(Duration::from_mins(1)).expect("it does not wait for this thread") };
        tokio::join!(work, blocked);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_ended() {
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
