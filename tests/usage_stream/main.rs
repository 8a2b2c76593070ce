//! Usage on its way through the stream: two gateways and two processes of billing as they are, on a
//! real Redis, in an order that a seed draws, command by command. Commands and answers are lost,
//! processes die and come back, Redis loses everything. After each step nothing is acknowledged
//! that is not booked, and nothing is booked twice or out of its order; in the end all is booked.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

#[path = "../support/noon.rs"]
mod noon;
mod relay;
mod world;

use std::time::Duration;

use fastrand::Rng;
use permille_test_redis::Redis;

use relay::Fate;
use world::{PROCESSES, World};

/// Steps with faults in them; what is left comes through without.
const STEPS: usize = 200;
/// After how long an entry is taken over: one step lasts some milliseconds.
const OFTEN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(3);
/// Times that a process waits, between a command's answer and the next command, and more.
const WAITS: usize = 30;
/// More than what is left takes.
const REST_MAX: usize = 5_000;

/// What the steps follow from; the variable says otherwise.
fn seed() -> u64 {
    std::env::var("PERMILLE_STREAM_SEED").map_or(28, |seed| seed.parse().unwrap())
}

/// One step that the seed draws.
async fn step(world: &mut World, random: &mut Rng) {
    let whose = random.usize(..PROCESSES);
    match random.u32(..100) {
        0..78 => world.decide(whose, Fate::Answered).await,
        78..84 => world.decide(whose, Fate::Lost).await,
        84..90 => world.decide(whose, Fate::AnswerLost).await,
        90..98 => {
            // It dies on what it has just got, somewhere on its way to its next command.
            world.decide(whose, Fate::Answered).await;
            for _ in 0..random.usize(..WAITS) {
                tokio::task::yield_now().await;
            }
            world.restart(whose);
        }
        _ => assert_eq!(world.redis.command("FLUSHALL").as_deref(), Some("+OK")),
    }
}

/// Everything comes through, and the stream is left empty.
async fn come_to_rest(world: &World, random: &mut Rng) {
    for _ in 0..REST_MAX {
        if world.is_handed_over() && world.entries() == ":0" {
            return world.check().await;
        }
        world.all_wait().await;
        world.decide(random.usize(..PROCESSES), Fate::Answered).await;
        world.check().await;
    }
    panic!("{} entries are left", world.entries());
}

#[tokio::test]
async fn usage_is_booked_once_whatever_is_lost_and_whoever_dies_in_whatever_order() {
    for seed in seed()..seed() + 4 {
        println!("PERMILLE_STREAM_SEED={seed}");
        let mut random = Rng::with_seed(seed);
        // Both processes have the same entries all the time, or each keeps its own.
        let reclaim = if seed % 2 == 0 { OFTEN } else { SELDOM };
        let mut world = World::over(Redis::start().await, reclaim).await;
        for _ in 0..STEPS {
            world.all_wait().await;
            step(&mut world, &mut random).await;
            world.check().await;
        }
        come_to_rest(&world, &mut random).await;
    }
}

/// A node of a cluster refuses what names keys of several slots.
#[tokio::test]
async fn the_commands_of_the_stream_name_keys_of_one_slot_of_a_cluster() {
    let world = World::over(Redis::start_cluster_node().await, OFTEN).await;
    come_to_rest(&world, &mut Rng::with_seed(1)).await;
}
