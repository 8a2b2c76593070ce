//! What a gateway does with a snapshot that it cannot use.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use permille_types::Snapshot;

use crate::support::{World, chat, eventually};

/// Such as one of a newer build, with prices that this one cannot read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_refused_is_asked_for_later_and_the_one_in_force_is_kept() {
    let begun = Instant::now();
    let refused =
        Snapshot { version: 2, pepper: "none".into(), keys: Vec::new(), prices: Vec::new() };
    let world = World::with(|setup| setup.newer = Some(refused)).await;

    eventually("billing is asked again and again", || {
        (world.billing.asked.load(Ordering::Relaxed) >= 4).then_some(())
    })
    .await;

    // Two waits, the second twice the first; and who asks without a wait asks thousands of times.
    assert!(begun.elapsed() >= Duration::from_millis(600), "{:?}", begun.elapsed());
    assert!(world.billing.asked.load(Ordering::Relaxed) < 40);
    assert_eq!(world.post("/v1/chat/completions", &chat("tokens=2", false)).await.status(), 200);
    let file = world.folder.path().join("snapshot.json");
    let kept = eventually("a snapshot is on disk", || {
        serde_json::from_slice::<Snapshot>(&std::fs::read(&file).ok()?).ok()
    });
    assert_eq!(kept.await.version, 1, "the one that a restart without billing begins with");
}
