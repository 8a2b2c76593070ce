//! Nobody sleeps through what they wait for.

use loom::{sync::Arc, thread};

use crate::lock::{Due, Lock};

#[test]
fn who_waits_is_woken_by_whoever_brings_it_about() {
    loom::model(|| {
        let shared = Arc::new((Lock::new(0_u32), Due::default()));
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (lock, due) = &*shared;
                    let mut held = lock.lock();
                    // A wake-up that were missed would leave this asleep: loom finds it.
                    while *held == 0 {
                        held = due.wait(held);
                    }
                })
            })
            .collect();
        // As `Shared::appended` does: changed under the lock, told after it.
        *shared.0.lock() = 1;
        shared.1.notify_all();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}
