//! Who counts while Redis goes away and comes back, and what is open meanwhile.

use loom::{sync::Arc, thread};
use permille_types::RequestId;

use crate::{
    identity::Identity,
    reservations::{COUNTER, customer, is_granted, open, request},
    standing::{By, Open, Standing, State},
    step::Use,
};

fn of(limit: u64) -> Open {
    Open { customer: customer(), lines: open(limit).into() }
}

/// What the gateway's own share holds.
fn held(standing: &Standing) -> u64 {
    let is = standing.own().and_then(|own| own.read(&customer(), COUNTER));
    is.map_or(0, |Use { held, .. }| held)
}

fn is_open(standing: &Standing, id: RequestId) -> bool {
    standing.all_open().into_values().flatten().any(|open| open == id)
}

#[test]
fn what_redis_grants_while_it_goes_away_is_held_of_the_own_share_once() {
    loom::model(|| {
        let standing = Arc::new(Standing::new(Some(1)));
        let going = {
            let standing = Arc::clone(&standing);
            thread::spawn(move || standing.go_away())
        };
        assert!(!standing.opened(request(), of(9), By::Redis), "redis knows of it");
        going.join().unwrap();

        assert_eq!(held(&standing), 1);
    });
}

#[test]
fn who_finds_redis_away_beside_another_finds_what_is_open_in_the_own_share() {
    loom::model(|| {
        let standing = Arc::new(Standing::new(Some(1)));
        standing.opened(request(), of(1), By::Redis);
        let other = {
            let standing = Arc::clone(&standing);
            thread::spawn(move || standing.go_away())
        };
        let was = standing.go_away();
        // The one that may be open is.
        let reserved = standing.own().unwrap().reserve(&customer(), request(), &open(1));
        assert!(!is_granted(&reserved), "{reserved:?}");

        let states = [was, other.join().unwrap()];
        assert!(states.contains(&State::Shared) && states.contains(&State::Away), "{states:?}");
    });
}

#[test]
fn what_the_own_share_grants_while_its_gateway_returns_is_told_to_redis() {
    loom::model(|| {
        let standing = Arc::new(Standing::new(Some(1)));
        standing.go_away();
        let id = request();
        let opening = {
            let standing = Arc::clone(&standing);
            thread::spawn(move || {
                let lines = open(9);
                let own = standing.own().map(|own| own.reserve(&customer(), id, &lines));
                let by = if own.is_some() { By::OwnShare } else { By::Redis };
                (by, standing.opened(id, of(9), by))
            })
        };
        standing.begin_return();
        let told_by_the_return = is_open(&standing, id);
        assert!(standing.end_return());
        let (by, told_by_itself) = opening.join().unwrap();

        assert!(by == By::Redis || told_by_the_return || told_by_itself);
        assert_eq!(standing.state(), State::Shared);
    });
}

#[test]
fn a_request_that_ends_while_redis_goes_away_is_not_held_of_the_own_share() {
    loom::model(|| {
        let standing = Arc::new(Standing::new(Some(1)));
        let id = request();
        standing.opened(id, of(9), By::Redis);
        let going = {
            let standing = Arc::clone(&standing);
            thread::spawn(move || standing.go_away())
        };
        if let Some(own) = standing.ended(id) {
            own.release(&customer(), id);
        }
        going.join().unwrap();

        assert_eq!(held(&standing), 0);
    });
}

#[test]
fn redis_that_is_found_away_again_does_not_count_and_the_own_share_has_what_is_open() {
    loom::model(|| {
        let standing = Arc::new(Standing::new(Some(1)));
        standing.opened(request(), of(9), By::Redis);
        standing.go_away();
        standing.begin_return();
        let going = {
            let standing = Arc::clone(&standing);
            thread::spawn(move || standing.go_away())
        };
        let is_back = standing.end_return();
        let was = going.join().unwrap();

        assert_eq!(is_back, was == State::Shared);
        assert_eq!(standing.state(), State::Away);
        assert_eq!(held(&standing), 1);
    });
}

#[test]
fn a_loss_that_is_noticed_while_another_is_made_up_for_is_not_forgotten() {
    loom::model(|| {
        let identity = Arc::new(Identity::default());
        identity.answered("first", false);
        identity.answered("second", false);
        assert!(identity.has_lost());
        let noticing = {
            let identity = Arc::clone(&identity);
            thread::spawn(move || identity.answered("third", false))
        };
        identity.told_again("second");
        noticing.join().unwrap();

        assert!(identity.has_lost(), "the third was told nothing");
        identity.told_again("third");
        assert!(!identity.has_lost());
    });
}
