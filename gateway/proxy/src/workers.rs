//! The threads that serve connections.
//!
//! A connection stays on the thread that it was given to, and so does all that its requests run
//! and hold: their memory is given back where it was taken and is found in the cache of its core,
//! and what becomes ready on one thread wakes nobody on another. What wakes across threads is the
//! journal most of all, many requests at once; a [`LocalSet`] makes one call of the system of all
//! that is woken so. What belongs to no connection is not here: it runs where the gateway does.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use futures_util::future::LocalBoxFuture;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
    task::{JoinSet, LocalSet},
};

/// Begins to serve a connection, on its thread.
type Job = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// See the module's text. Dropped, they cut what they serve and end before it returns.
pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    /// Closed, the thread cuts the connections that it has.
    jobs: mpsc::UnboundedSender<Job>,
    /// Another one for each connection that it has.
    open: Arc<()>,
    running: Running,
}

/// A thread whose connections are cut, or will be. Dropped, it ends, and all that it still runs is
/// dropped there: replies that are open settle so.
struct Running {
    /// Dropped by the thread once nothing of a connection is left.
    cut: oneshot::Receiver<()>,
    /// Dropped, the thread ends once its connections are cut.
    until: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.until.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread that serves connections has broken");
        }
    }
}

impl Workers {
    /// # Errors
    /// The machine's, when there is no room for so many threads or what they wait with.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        (0..threads).map(Worker::start).collect::<io::Result<_>>().map(Self)
    }

    /// Serves one more connection on the thread that has the fewest.
    pub(crate) fn spawn<F>(&self, connection: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        let alive = self.0.iter().filter(|worker| !worker.jobs.is_closed());
        let freest = alive.min_by_key(|worker| Arc::strong_count(&worker.open));
        let sent = freest.is_some_and(|worker| {
            let open = Arc::clone(&worker.open);
            let job: Job = Box::new(|| {
                Box::pin(async move {
                    connection().await;
                    drop(open);
                })
            });
            worker.jobs.send(job).is_ok()
        });
        if !sent {
            tracing::error!("a connection is closed: the threads that serve have ended");
        }
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.0.iter().map(|worker| Arc::strong_count(&worker.open).saturating_sub(1)).sum()
    }

    /// Cuts the connections that are open and waits until nothing is left of them. What they
    /// started that goes on goes on, until [`Cut::end`].
    pub(crate) async fn cut(self) -> Cut {
        let mut running: Vec<_> = self.0.into_iter().map(|worker| worker.running).collect();
        for thread in &mut running {
            // It is never sent; that it is dropped is what is waited for.
            drop((&mut thread.cut).await);
        }
        Cut(running)
    }
}

/// Threads without connections.
pub(crate) struct Cut(Vec<Running>);

impl Cut {
    /// Ends the threads, with all that they still run.
    pub(crate) async fn end(self) {
        let Self(running) = self;
        if let Err(cause) = tokio::task::spawn_blocking(|| drop(running)).await {
            tracing::error!(%cause, "the threads that serve connections have not ended");
        }
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let (jobs, connections) = mpsc::unbounded_channel();
        let (cutting, cut) = oneshot::channel();
        let (until, ended) = oneshot::channel();
        let (tell, started) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name(format!("connections-{number}"));
        // Made there: a runtime cannot be dropped where another one is entered.
        let thread =
            thread.spawn(move || match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    drop(tell);
                    run(&runtime, connections, cutting, ended);
                    // A name that is still looked up must not hold up the end.
                    runtime.shutdown_background();
                }
                Err(cause) => drop(tell.send(cause)),
            })?;
        if let Ok(cause) = started.recv() {
            return Err(cause);
        }
        let running = Running { cut, until: Some(until), thread: Some(thread) };
        Ok(Self { jobs, open: Arc::default(), running })
    }
}

/// What a thread does: it serves until no more connections can come, cuts what is open, drops
/// `cutting`, and runs what is left until `ended`.
fn run(
    runtime: &Runtime,
    connections: mpsc::UnboundedReceiver<Job>,
    cutting: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        let local = LocalSet::new();
        // A task of its own: it is not asked whenever another one is woken.
        let serving = local.spawn_local(serve(connections));
        if let Err(cause) = local.run_until(serving).await {
            tracing::error!(%cause, "a thread serves no connections any more");
        }
        // With it goes what a connection started here: its HTTP/2 streams.
        drop(local);
        drop(cutting);
        drop(ended.await);
    });
}

async fn serve(mut connections: mpsc::UnboundedReceiver<Job>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            job = connections.recv() => match job {
                Some(job) => drop(open.spawn_local(job())),
                None => break,
            },
            Some(_) = open.join_next(), if !open.is_empty() => {}
        }
    }
    open.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    /// Serves a connection that stays open; the thread that it is on.
    async fn open(workers: &Workers, ends: impl Send + 'static) -> thread::ThreadId {
        let (told, on) = oneshot::channel();
        workers.spawn(move || async move {
            let _ends = ends;
            told.send(thread::current().id()).unwrap();
            pending::<()>().await;
        });
        on.await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_goes_to_the_thread_that_has_the_fewest_and_stays_there() {
        let workers = Workers::start(2).unwrap();
        let first = open(&workers, ()).await;
        let second = open(&workers, ()).await;
        let (told, later) = oneshot::channel();
        workers.spawn(|| async {
            let began = thread::current().id();
            tokio::task::yield_now().await;
            told.send((began, thread::current().id())).unwrap();
        });

        assert_ne!(first, second);
        let (began, ended) = later.await.unwrap();
        assert_eq!(began, ended);
        // The one that has ended counts no more.
        while workers.open() > 2 {
            tokio::task::yield_now().await;
        }
        let two = [open(&workers, ()).await, open(&workers, ()).await];
        assert!(two.contains(&first) && two.contains(&second), "both on one thread");
        assert_eq!(workers.open(), 4);
    }

    #[tokio::test]
    async fn what_a_cut_connection_has_started_goes_on_until_the_threads_end() {
        let workers = Workers::start(1).unwrap();
        let (connection, cut) = oneshot::channel::<()>();
        let (of_stream, stream_cut) = oneshot::channel::<()>();
        let (go_on, gone_on) = oneshot::channel::<oneshot::Sender<()>>();
        let (drain, ended) = oneshot::channel::<()>();
        workers.spawn(|| async {
            drop(tokio::task::spawn_local(async {
                let _of_stream = of_stream;
                pending::<()>().await;
            }));
            drop(tokio::spawn(async {
                gone_on.await.unwrap().send(()).unwrap();
                let _drain = drain;
                pending::<()>().await;
            }));
        });
        open(&workers, connection).await;

        let threads = workers.cut().await;
        assert!(cut.await.is_err() && stream_cut.await.is_err());
        let (answer, answered) = oneshot::channel();
        go_on.send(answer).unwrap();
        answered.await.unwrap();
        threads.end().await;
        assert!(ended.await.is_err());
    }

    #[tokio::test]
    async fn a_lookup_that_hangs_holds_up_no_end() {
        let workers = Workers::start(1).unwrap();
        let (answer, lookup) = std::sync::mpsc::channel::<()>();
        let (told, began) = oneshot::channel();
        workers.spawn(|| async {
            drop(tokio::task::spawn_blocking(move || {
                told.send(()).unwrap();
                lookup.recv()
            }));
        });
        began.await.unwrap();

        let ended = async { workers.cut().await.end().await };
        tokio::time::timeout(Duration::from_mins(1), ended).await.unwrap();

        drop(answer);
    }

    #[tokio::test]
    async fn threads_that_are_dropped_have_dropped_what_they_served() {
        let workers = Workers::start(2).unwrap();
        let served = Arc::new(());
        for _ in 0..4 {
            open(&workers, Arc::clone(&served)).await;
        }
        assert_eq!(Arc::strong_count(&served), 5);

        drop(workers);

        assert_eq!(Arc::strong_count(&served), 1);
    }

    #[tokio::test]
    async fn a_connection_that_panics_takes_no_other_with_it() {
        let workers = Workers::start(1).unwrap();
        let served = Arc::new(());
        let before = open(&workers, Arc::clone(&served)).await;
        workers.spawn(|| async { panic!("on purpose") });

        assert_eq!(open(&workers, Arc::clone(&served)).await, before);
        assert_eq!(Arc::strong_count(&served), 3);
    }
}
